"""`make outdated`: lists newer base images, newer packages, and how long each Python is supported.

It changes nothing. What cannot be looked up is reported as not known.
"""

import datetime
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

from imagematrix import cli
from imagematrix.console import report, say, table
from imagematrix.errors import UserError
from imagematrix.find.digests import newest, unpinned
from imagematrix.find.wheels import Resolver
from imagematrix.machine import engine
from imagematrix.matrix.loading import load
from imagematrix.matrix.model import Matrix, Python, Variant
from imagematrix.registry import Registry

SOON = datetime.timedelta(days=90)


@dataclass(frozen=True)
class Finding:
    """Something that is outdated: its kind (`base`, `package`, `python`), its name, what it is now and what is new."""

    kind: str
    name: str
    now: str
    new: str


def bases(variants: Iterable[Variant], found: Mapping[str, str | None]) -> list[Finding]:
    """Return the base images whose digest in the registry is not that of the lock."""
    locked = {variant.base: variant.matrix.locks.base_digest(variant.base) for variant in variants}
    return [
        Finding("base", name, locked[name] or "not pinned", digest)
        for name, digest in sorted(found.items())
        if digest and digest != locked[name]
    ]


def packages(name: str, locked: Mapping[str, str], resolved: Mapping[str, str]) -> list[Finding]:
    """Return the packages of the lock `name` that `make lock` would give another version."""
    return [
        Finding("package", f"{name} {package}", locked.get(package, "none"), resolved.get(package, "none"))
        for package in sorted({*locked, *resolved})
        if locked.get(package) != resolved.get(package)
    ]


def pythons(some: Iterable[Python], today: datetime.date) -> list[Finding]:
    """Return the Pythons that the matrix calls stable and whose support has ended, or ends within 90 days."""
    ending = [python for python in some if python.status == "stable" and python.end_of_life - today <= SOON]
    return [Finding("python", python.version, python.status, f"ends {python.end_of_life}") for python in ending]


def resolve(matrix: Matrix, variants: Iterable[Variant]) -> list[Finding]:
    """Resolve every Python of the variants again and compare with its lock. A failure is printed."""
    found: list[Finding] = []
    with ThreadPoolExecutor() as pool:
        for python in dict.fromkeys(variant.python for variant in variants):
            say(f"python {python.version}: resolving …")
            resolver = Resolver(matrix, python, pool)
            locks: dict[Path, list[str]] = {}
            for libc in resolver.libcs:
                locks.setdefault(matrix.locks.path(python.version, libc), []).append(libc)
            for libcs in locks.values():
                pins = resolver.agreed(libcs)
                if pins is None:
                    say(f"python {python.version}: not known: {'; '.join(resolver.failures) or 'no common versions'}")
                    continue
                lock = matrix.locks.lock(python.version, libcs[0])
                now = {package.name: package.version for package in lock.packages}
                found += packages(lock.file, now, {name: pin.version for name, pin in pins.items()})
    return found


def main(argv: list[str] | None = None) -> int:
    """Run the verb; return the exit status."""
    parser = cli.parser("Say what has a newer base or package, and how long each Python is supported.")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    arguments = parser.parse_args(argv)
    matrix = load(arguments.root)
    variants = cli.select(matrix, arguments)
    some = dict.fromkeys(variant.python for variant in variants)
    findings = pythons(some, datetime.date.today())
    try:
        found = newest(Registry(engine.ensure().buildx), unpinned(variants))
        findings += bases(variants, found)
    except UserError as error:  # no registry answers, or there is no engine to ask it with
        say(f"bases: not known, no registry answers ({error})")
    findings += resolve(matrix, variants)
    if not arguments.json:
        table(("Python", "status", "support"), [(python.version, python.status, python.support) for python in some])
        print()
    if arguments.json or findings:
        report(("kind", "name", "now", "new"), [astuple(finding) for finding in findings], as_json=arguments.json)
    say(f"{len(findings)} outdated")
    return 0


if __name__ == "__main__":
    cli.run(main)
