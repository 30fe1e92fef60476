"""`make clean`: removes the images and test containers of this repository from the engine, by tag and by label.

Base images and stand-ins stay: other projects may use them, and they take the longest to get.
"""

from docker.client import DockerClient
from docker.errors import APIError, ImageNotFound
from docker.models.containers import Container

from imagematrix import cli
from imagematrix.console import say
from imagematrix.errors import UserError
from imagematrix.labels import Labels
from imagematrix.machine import address, engine
from imagematrix.matrix.loading import load
from imagematrix.matrix.model import Variant


def references(client: DockerClient, variant: Variant) -> list[str]:
    """Return the tags of a variant that the engine has and that name an image that was built here."""
    found = []
    for reference in variant.references:
        try:
            if variant.matrix.labels.inputs in client.images.get(reference).labels:
                found.append(reference)
        except ImageNotFound:
            continue
    return found


def containers(client: DockerClient, own: Labels) -> list[Container]:
    """Return the containers that tests, and the smoke tests of `make push`, left behind."""
    return [
        container
        for label in (own.test, own.smoke)
        for container in client.containers.list(all=True, filters={"label": label})
    ]


def main(argv: list[str] | None = None) -> int:
    """Run the verb; return the exit status."""
    parser = cli.parser("Remove this repository's images and left-over test containers from the engine.")
    parser.add_argument("--dry-run", action="store_true", help="say what would be removed")
    arguments = parser.parse_args(argv)
    matrix = load(arguments.root)
    variants = cli.select(matrix, arguments)
    if reason := address.why_silent(address.configured_host()):
        say(f"no engine answers ({reason}): nothing to remove")
        return 0
    client = engine.ensure().client()
    failures = []
    for container in containers(client, matrix.labels):
        print(f"container {container.name}")
        if not arguments.dry_run:
            container.remove(force=True, v=True)
    for reference in (reference for variant in variants for reference in references(client, variant)):
        print(reference)
        try:
            if not arguments.dry_run:
                client.images.remove(reference)
        except APIError as error:
            failures.append(f"{reference}: {error.explanation}")
    if failures:
        raise UserError("\n".join(failures))
    return 0


if __name__ == "__main__":
    cli.run(main)
