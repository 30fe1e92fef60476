"""`make plan`: what publishing would do with each variant, and why.

The registry holds all state: the labels of a published image have the digest of its inputs. `survey` asks the registry;
`decide` compares its answer with the matrix.
"""

import argparse
import json
import os
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from imagematrix import cli, labels, reference
from imagematrix.console import counted, report
from imagematrix.errors import InputError, UserError
from imagematrix.machine import engine
from imagematrix.matrix.loading import load
from imagematrix.matrix.model import Destination, Matrix, Variant
from imagematrix.registry import AT_ONCE, Published, Registry, RegistryError
from imagematrix.render.render import JOBS, Rendered, render

Action = Literal["build", "tag", "keep", "unknown"]


@dataclass(frozen=True)
class Decision:
    """What to do with a variant: build and push it, move tags only, nothing, or unknown."""

    variant: Variant
    action: Action
    reason: str
    published: Published | None = None
    stale_tags: tuple[str, ...] = ()  # tags that do not name the image of the moving tag


def decide(
    variant: Variant, rendered: Rendered, published: Published | None, tags: Mapping[str, str | None]
) -> Decision:
    """Compare what a variant is made from with what its moving tag names; `tags` are the digests of its other tags."""
    if published is None:
        return Decision(variant, "build", "new")
    if reason := why_stale(variant, rendered, published):
        return Decision(variant, "build", reason, published)
    stale = tuple(tag for tag in variant.tags if tags.get(tag, published.digest) != published.digest)
    stale += tuple(tag for tag in dated_tags(variant, published) if tags.get(tag, published.digest) is None)
    if stale:
        return Decision(variant, "tag", f"unchanged, but not under {', '.join(stale)}", published, stale)
    return Decision(variant, "keep", "unchanged", published)


def dated_tags(variant: Variant, published: Published) -> tuple[str, ...]:
    """Return the dated tags of a published image. The day is that of its label `created`."""
    created = re.match(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T", published.labels.get(labels.CREATED, ""))
    return variant.dated_tags("".join(created.groups())) if created else ()


def why_stale(variant: Variant, rendered: Rendered, published: Published) -> str | None:
    """Return what differs between a variant and its published image; None if nothing does."""
    if reason := rendered.why_stale(variant, published.labels):
        return reason
    missing = [platform for platform in variant.matrix.platforms if platform not in published.platforms]
    return f"inputs changed: no {', '.join(missing)} yet" if missing else None


def survey(registry: Registry, where: Destination, variants: Iterable[Variant], rendered: Rendered) -> list[Decision]:
    """Ask the registry about every variant and decide. Without an answer a variant is `unknown`, with the reason.

    The other tags of a variant are asked for only if the image of its moving tag is up to date.
    """

    def decided(variant: Variant) -> Decision:
        repository = where.repository(variant.image)
        try:
            published = registry.inspect(f"{repository}:{variant.tag}")
            decision = decide(variant, rendered, published, {})
            if published and decision.action == "keep":
                others = (*variant.tags[1:], *dated_tags(variant, published))
                tags = {tag: registry.digest(f"{repository}:{tag}") for tag in others}
                decision = decide(variant, rendered, published, tags)
        except RegistryError as error:
            return Decision(variant, "unknown", str(error))
        return decision

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(decided, variants))


def destination(matrix: Matrix, registry: str | None) -> Destination:
    """Return where to publish: HOST or HOST/NAMESPACE, else what matrix.yaml says. Raises InputError."""
    if not registry:
        return matrix.destination
    host, _, namespace = registry.strip("/").partition("/")
    where = Destination(host, namespace or matrix.destination.namespace)
    try:
        found = reference.parse(f"{host}/{where.namespace}/image")
    except ValueError:
        raise InputError(f"REGISTRY={registry}: allowed is HOST[/NAMESPACE], such as ghcr.io/mine") from None
    if found.host != host:
        raise InputError(
            f"REGISTRY={registry}: {host} is not a registry's host, and Docker would push to Docker Hub; "
            f"allowed: HOST[/NAMESPACE], such as ghcr.io/{host} or docker.io/{host}"
        )
    return where


def parser(description: str) -> argparse.ArgumentParser:
    """Return a command line with the options that `plan` and `push` share."""
    made = cli.parser(description)
    made.add_argument(
        "--registry",
        metavar="HOST[/NAMESPACE]",
        default=os.environ.get("REGISTRY"),
        help="publish there and not where matrix.yaml says (default: $REGISTRY)",
    )
    made.add_argument("--json", action="store_true", help="print the result as JSON")
    return made


def jobs(
    decisions: Iterable[Decision], ci_matrix: Mapping[str, list[dict[str, object]]], *, covering: bool = False
) -> list[dict[str, object]]:
    """Return the jobs of CI that have something to do. `unknown` counts as something to do.

    With `covering` also return the jobs of the covering set, which are always tested.
    """
    tags = {decision.variant.tag for decision in decisions if decision.action != "keep"}
    return [job for job in ci_matrix["include"] if job["tag"] in tags or (covering and job["covering"])]


def refuse_unpinned(variants: Iterable[Variant]) -> None:
    """Raise UserError if a base of what is to be published has no digest in locks/bases.json."""
    unpinned = sorted({variant.base for variant in variants if not variant.base_digest})
    if unpinned:
        more = f" and {len(unpinned) - 1} more" if len(unpinned) > 1 else ""
        raise UserError(
            f"locks/bases.json has no digest of {unpinned[0]}{more}: run make lock and commit, "
            "or on GitHub run the workflow Refresh locks and merge its pull request"
        )


def main(argv: list[str] | None = None) -> int:
    """Run the verb; return the exit status: 1 if the registry could not be asked about every variant."""
    options = parser("Say what publishing would do with each variant, and why. Nothing is changed.")
    lines = options.add_mutually_exclusive_group()
    lines.add_argument("--jobs", action="store_true", help="print the jobs that publish this, as one line of JSON")
    lines.add_argument(
        "--tests", action="store_true", help="print the jobs that test this and a covering set, as one line of JSON"
    )
    arguments = options.parse_args(argv)
    matrix = load(arguments.root)
    where = destination(matrix, arguments.registry)
    variants = cli.select(matrix, arguments)
    if arguments.jobs:
        refuse_unpinned(variants)
    rendered = render(matrix, arguments.root, cli.with_parents(variants))
    registry = Registry(engine.ensure().buildx)
    decisions = survey(registry, where, variants, rendered)
    if arguments.jobs or arguments.tests:
        ci = json.loads(rendered.files[JOBS].data)
        print(json.dumps(jobs(decisions, ci, covering=arguments.tests)))
        return 0
    print_decisions(decisions, as_json=arguments.json)
    return 1 if any(decision.action == "unknown" for decision in decisions) else 0


def print_decisions(decisions: list[Decision], *, as_json: bool) -> None:
    """Print the decisions, and how many there are of each action."""
    rows = []
    for decision in decisions:
        digest = decision.published.digest if decision.published else None
        rows.append((decision.variant.image.name, decision.variant.tag, decision.action, decision.reason, digest))
    report(("image", "tag", "action", "reason", "digest"), rows, as_json=as_json)
    counted(decision.action for decision in decisions)


if __name__ == "__main__":
    cli.run(main)
