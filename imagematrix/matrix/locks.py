"""Reads the lock files: the wheels for the images of each Python, and which requirement needs each of them.

A lock is a requirements file for pip. Its head lists the requirements that it was made from, and a comment behind each
package lists those that need it. So the packages of a variant are known without a network. `make lock` writes the locks
(imagematrix.find.wheels).
"""

import json
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from imagematrix.errors import InputError

BASES = "bases.json"
"""The lock of the base images: official name -> digest."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PACKAGE = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>\S+) \\$")
_HASH = re.compile(r"^    --hash=(?P<hash>sha256:[0-9a-f]{64})(?: \\)?$")
_FOR = re.compile(r"^    # for (?P<roots>.+)$")
_HEAD = re.compile(r"^# (?P<key>python|requirement): (?P<value>.+)$")


@dataclass(frozen=True)
class Locked:
    """A package in a lock: its normalized name, version, hashes of wheels, and the requirements that need it."""

    name: str
    version: str
    hashes: tuple[str, ...] = field(repr=False)
    roots: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True)
class Lock:
    """A lock file's contents."""

    file: str
    python: str
    requirements: frozenset[str]
    packages: tuple[Locked, ...]


@cache
def without_version(requirement: str) -> str:
    """Return a requirement without its version, as locks write it: `a[b]>=1` is `a[b]`."""
    parsed = Requirement(requirement)
    extras = f"[{','.join(sorted(parsed.extras))}]" if parsed.extras else ""
    return f"{canonicalize_name(parsed.name)}{extras}"


class Locks:
    """The folder of locks. Each file is read once, when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[Path, Lock] = {}
        self._bases: dict[str, str] | None = None

    def path(self, python: str, libc: str) -> Path:
        """Return the file of the lock: that of the C library if there is one, else that of the Python."""
        own = self.folder / f"python{python}-{libc}.txt"
        return own if own.exists() else self.folder / f"python{python}.txt"

    def lock(self, python: str, libc: str) -> Lock:
        """Return the lock of a Python. Raises InputError if it is missing or damaged."""
        path = self.path(python, libc)
        if path not in self._read:
            self._read[path] = read(path)
        return self._read[path]

    def closure(self, python: str, libc: str, requirements: tuple[str, ...]) -> tuple[Locked, ...]:
        """Return the packages that the requirements need. Raises InputError if the lock was made from others."""
        lock = self.lock(python, libc)
        if lock.python != python:
            raise InputError(f"{lock.file}:2: is the lock of Python {lock.python}, not {python}; run: make lock")
        for requirement in requirements:
            if requirement not in lock.requirements:
                raise InputError(
                    f"{lock.file}:1: knows nothing of {requirement}, which matrix.yaml asks for; run: make lock"
                )
        roots = {without_version(requirement) for requirement in requirements}
        return tuple(package for package in lock.packages if roots.intersection(package.roots))

    def base_digest(self, base: str) -> str | None:
        """Return the digest that a base image is pinned to, None if it is not. Raises InputError for a damaged lock."""
        if self._bases is None:
            self._bases = read_bases(self.folder)
        return self._bases.get(base)


def read_bases(folder: Path) -> dict[str, str]:
    """Return the lock of the base images in a folder, {} if there is none. Raises InputError if it is damaged."""
    path = folder / BASES
    try:
        found = json.loads(path.read_bytes()) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise InputError(f"{folder.name}/{BASES}: cannot be read: {error}; remove it and run: make lock") from None
    if not isinstance(found, dict) or not all(_DIGEST.fullmatch(str(digest)) for digest in found.values()):
        raise InputError(f"{folder.name}/{BASES}: is not as `make lock` writes it; remove it and run: make lock")
    return found


def _check_package(place: str, match: re.Match[str], before: list[Locked]) -> None:
    try:
        Version(match["version"])
    except InvalidVersion:
        raise InputError(f"{place}: {match['version']} is not a version; run: make lock") from None
    if any(package.name == match["name"] for package in before):
        raise InputError(f"{place}: {match['name']} is there twice; run: make lock")


def read(path: Path) -> Lock:
    """Read a lock file. Raises InputError if it is missing or not as `make lock` writes it."""
    name = f"{path.parent.name}/{path.name}"
    try:
        if path.is_fifo():
            raise InputError(f"{name}:1: is not a plain file; remove it and run: make lock")
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"{name}: is missing; run: make lock") from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise InputError(f"{name}: cannot be read: {why}; run: make lock") from None
    head: dict[str, list[str]] = {"python": [], "requirement": []}
    packages: list[Locked] = []
    current: tuple[str, str] | None = None
    hashes: list[str] = []
    for number, line in enumerate(lines, 1):
        if match := _HEAD.match(line):
            head[match["key"]].append(match["value"])
        elif current is None and (match := _PACKAGE.match(line)):
            _check_package(f"{name}:{number}", match, packages)
            current, hashes = (match["name"], match["version"]), []
        elif current and (match := _HASH.match(line)):
            hashes.append(match["hash"])
        elif current and hashes and (match := _FOR.match(line)):
            packages.append(Locked(*current, tuple(hashes), tuple(match["roots"].split(", "))))
            current = None
        elif current or not line.startswith("#"):
            raise InputError(f"{name}:{number}: is not as `make lock` writes it; run: make lock")
    if current or not head["python"] or not packages:
        raise InputError(f"{name}:{max(1, len(lines))}: ends too early; run: make lock")
    return Lock(name, head["python"][0], frozenset(head["requirement"]), tuple(packages))
