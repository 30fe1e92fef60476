"""The second half of `make lock`: asks the registry which digest each base image has now, for locks/bases.json.

Without a registry the lock stays as it is. BASE_MIRROR names a mirror of Docker Hub to ask instead.
"""

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from imagematrix import cli
from imagematrix.console import say
from imagematrix.errors import UserError
from imagematrix.machine import engine, images
from imagematrix.matrix.loading import load
from imagematrix.matrix.locks import BASES, read_bases
from imagematrix.matrix.model import Variant
from imagematrix.registry import AT_ONCE, Registry
from imagematrix.writing import refuse_links, write_whole


def newest(registry: Registry, names: Iterable[str]) -> dict[str, str | None]:
    """Return the digest that each base image has in the registry now, None where it has no such image.

    Raises RegistryError when it does not answer about one.
    """
    names = list(names)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(names, pool.map(lambda name: registry.digest(images.pull_reference(name)), names), strict=True))


def unpinned(variants: Iterable[Variant]) -> list[str]:
    """Return the base images of the variants that have no digest in their names."""
    return sorted({variant.base for variant in variants if "@" not in variant.base})


def updated(old: dict[str, str], found: dict[str, str | None], used: Iterable[str]) -> dict[str, str]:
    """Return the lock with what was found, and without bases that nothing uses any more."""
    merged = {**old, **{name: digest for name, digest in found.items() if digest}}
    return {name: merged[name] for name in sorted(merged) if name in set(used)}


def main(argv: list[str] | None = None) -> int:
    """Run the verb; return the exit status."""
    parser = cli.parser("Pin every base image to the digest it has now. Without a registry nothing is changed.")
    parser.add_argument("--dry-run", action="store_true", help="only say what would change")
    arguments = parser.parse_args(argv)
    matrix, folder = load(arguments.root), arguments.root / "locks"
    wanted = unpinned(cli.select(matrix, arguments))
    old = read_bases(folder)
    try:
        found = newest(Registry(engine.ensure().buildx), wanted)
    except UserError as error:  # no registry answers, or there is no engine to ask it with
        say(f"locks/{BASES} is left as it is: no registry answers about base images ({error})")
        return 0
    missing = sorted(name for name, digest in found.items() if digest is None)
    lock = updated(old, found, unpinned(matrix.variants))
    changed = [name for name in lock if old.get(name) != lock[name]]
    for name in changed:
        say(f"{name}: {old.get(name, 'not pinned')} -> {lock[name]}")
    say(f"locks/{BASES}: {len(lock)} base images, {len(changed)} changed")
    if not arguments.dry_run and (changed or lock != old):
        refuse_links(folder, BASES)
        write_whole(folder / BASES, f"{json.dumps(lock, indent=2)}\n".encode())
    if missing:
        raise UserError(f"the registry has no {', '.join(missing)}: correct matrix.yaml")
    return 0


if __name__ == "__main__":
    cli.run(main)
