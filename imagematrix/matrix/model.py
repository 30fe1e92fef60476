"""The matrix as typed objects: images, variants, extras and tags.

Rendering, building, publishing, tables and tests use these objects; there is no other list of versions.
imagematrix.matrix.loading makes them from matrix.yaml. Nothing here writes a file or needs a network.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from imagematrix import reference
from imagematrix.errors import InputError
from imagematrix.labels import Labels
from imagematrix.matrix.locks import Locked, Locks
from imagematrix.matrix.schema import ProbeEntry, ProjectEntry
from imagematrix.matrix.tags import asks_for, filled, is_complete, release_of


@dataclass(frozen=True)
class Python:
    """A Python version, its support status and the official image for each OS."""

    version: str
    status: Literal["prerelease", "stable", "eol"]
    end_of_life: datetime.date
    bases: dict[str, str] = field(hash=False)
    unchecked: dict[str, str] = field(hash=False, default_factory=dict)

    @property
    def support(self) -> str:
        """Its support, for tables: `until 2029-10-31`, `ended 2024-10-07` or `pre-release`."""
        words = {"prerelease": "pre-release", "stable": f"until {self.end_of_life}", "eol": f"ended {self.end_of_life}"}
        return words[self.status]


@dataclass(frozen=True)
class OS:
    """A base operating system: its suffix in tags, and its C library, which decides the wheels."""

    name: str
    suffix: str
    libc: Literal["glibc", "musl"]
    description: str
    rank: int  # its place in the file: of releases that share a short suffix, the last one is the newest
    short: str | None = None


@dataclass(frozen=True)
class Extra:
    """An optional feature: the requirement that installs it, and the distribution that shows that it is installed."""

    name: str
    line: int
    requirement: str
    package: str
    facts: dict[str, str] = field(hash=False)
    description: str


@dataclass(frozen=True)
class Server:
    """The server of a root image and of all images built on it, and the files that they are made from."""

    distribution: str
    template: str
    runtime: str
    probe: ProbeEntry
    variables: str | None


@dataclass(frozen=True)
class Image:
    """An image: its parent, and its own packages and extras."""

    name: str
    title: str
    description: str
    packages: tuple[str, ...]
    own_extras: tuple[Extra, ...]
    parent: Image | None
    server: Server

    @cached_property
    def lineage(self) -> tuple[Image, ...]:
        """Its ancestors, the root image first, and itself last."""
        return (*(self.parent.lineage if self.parent else ()), self)

    @cached_property
    def extras(self) -> tuple[Extra, ...]:
        """Its parent's extras and its own, before any exclusion."""
        return tuple(extra for image in self.lineage for extra in image.own_extras)


@dataclass(frozen=True)
class Destination:
    """Where images are published: a registry, and a namespace in it."""

    registry: str
    namespace: str

    def repository(self, image: Image) -> str:
        """Return where the image is published, as Docker's clients write it: without docker.io."""
        host = "" if self.registry == "docker.io" else f"{self.registry}/"
        return f"{host}{self.namespace}/{image.name}"


@dataclass(frozen=True)
class Exclusion:
    """Cells or extras that the matrix leaves out, and why. None means all. Without extras it leaves out cells."""

    line: int
    pythons: frozenset[str] | None
    oses: frozenset[str] | None
    images: frozenset[str] | None
    extras: frozenset[str]
    until_wheel: bool
    reason: str

    def covers(self, image: Image, python: Python, os: OS) -> bool:
        """Say whether it applies to a cell. The name of an image includes all images built on it."""
        return (
            (self.pythons is None or python.version in self.pythons)
            and (self.oses is None or os.name in self.oses)
            and (self.images is None or any(ancestor.name in self.images for ancestor in image.lineage))
        )

    def removes(self, image: Image, python: Python, os: OS) -> bool:
        """Say whether it leaves out the cell itself, not only extras."""
        return not self.extras and self.covers(image, python, os)


@dataclass(frozen=True)
class Dropped:
    """An extra that a variant does not have, and the exclusion that leaves it out."""

    extra: Extra
    exclusion: Exclusion


@dataclass(frozen=True)
class Variant:
    """One cell of the matrix: an image for a Python on an OS."""

    image: Image
    python: Python
    os: OS
    matrix: Matrix = field(repr=False, compare=False)

    @cached_property
    def dropped(self) -> tuple[Dropped, ...]:
        """The extras that exclusions leave out, by name, each with its first exclusion."""
        found: dict[str, Dropped] = {}
        for exclusion in self.matrix.exclusions:
            for extra in self.image.extras if exclusion.covers(self.image, self.python, self.os) else ():
                if extra.name in exclusion.extras:
                    found.setdefault(extra.name, Dropped(extra, exclusion))
        return tuple(found[name] for name in sorted(found))

    @cached_property
    def extras(self) -> tuple[Extra, ...]:
        """The extras that it has."""
        dropped = {drop.extra for drop in self.dropped}
        return tuple(extra for extra in self.image.extras if extra not in dropped)

    @cached_property
    def short_suffix(self) -> str | None:
        """The suffix that several releases of an OS share, if it is the newest that its Python has."""
        rivals = [
            os
            for os in self.matrix.oses
            if os.short == self.os.short and not self.matrix.removal(self.image, self.python, os)
        ]
        return self.os.short if max(rivals, key=lambda os: os.rank) == self.os else None

    @cached_property
    def aliases(self) -> tuple[str, ...]:
        """The tags that move to a newer variant, such as latest."""
        short = () if self.short_suffix is None else (f"python{self.python.version}{self.short_suffix}",)
        cell = (self.python, self.os)
        return (*short, *sorted(name for name, target in self.matrix.aliases.items() if target == cell))

    @cached_property
    def patterns(self) -> tuple[str, ...]:
        """Its further tags. {server} and {day} are left in them."""
        values = {
            "tag": self.tag,
            "python": f"{self.python.version}-rc" if self.python.status == "prerelease" else self.python.version,
            "release": release_of(self.base, self.python.version),
        }
        suffixes = (self.os.suffix, *([] if self.short_suffix is None else [self.short_suffix]))
        found = [filled(pattern, {**values, "os": suffix}) for pattern in self.matrix.tags for suffix in suffixes]
        return tuple(dict.fromkeys(tag for tag in found if tag is not None))

    @property
    def tag(self) -> str:
        """The moving tag, such as python3.13-slim."""
        return tag_of(self.python, self.os)

    @property
    def lasting_tags(self) -> tuple[str, ...]:
        """The moving tag, and other tags that stay with this variant, such as 3.13-slim and 3.13-slim-trixie."""
        return tuple(dict.fromkeys((self.tag, *filter(is_complete, self.patterns))))

    @property
    def version_tags(self) -> tuple[str, ...]:
        """The tags with the server's version, such as 0.18.0-python3.13-slim."""
        undated = (pattern for pattern in self.patterns if not asks_for(pattern, "day"))
        return tuple(self._of_version(pattern) for pattern in undated if asks_for(pattern, "server"))

    def dated_tags(self, day: str) -> tuple[str, ...]:
        """Return the tags of a day (YYYYMMDD), such as python3.13-slim-20261122. They never move."""
        return tuple(
            self._of_version(pattern).replace("{day}", day) for pattern in self.patterns if asks_for(pattern, "day")
        )

    def _of_version(self, pattern: str) -> str:
        if not asks_for(pattern, "server"):
            return pattern
        return pattern.replace("{server}", self.server_version.replace("+", "_"))  # a tag has no +

    @property
    def named_tags(self) -> tuple[str, ...]:
        """The tags that need no lock, the moving tag first and aliases last."""
        return tuple(dict.fromkeys((*self.lasting_tags, *self.aliases)))

    @property
    def tags(self) -> tuple[str, ...]:
        """All tags except dated ones, the moving tag first."""
        return (*self.named_tags, *self.version_tags)

    @property
    def references(self) -> tuple[str, ...]:
        """Its tags with the repository: registry (not docker.io), namespace and image."""
        repository = self.matrix.repository(self.image)
        return tuple(f"{repository}:{tag}" for tag in self.tags)

    @property
    def name(self) -> str:
        """Its name in messages: IMAGE:python3.13-slim."""
        return f"{self.image.name}:{self.tag}"

    @property
    def target(self) -> str:
        """Its name in the bake file, where a dot is not allowed."""
        return f"{self.image.name}-{self.tag}".replace(".", "-")

    @property
    def directory(self) -> str:
        """Its folder below build/, with / on every machine."""
        return f"{self.image.name}/{self.tag}"

    @property
    def base(self) -> str:
        """The official image that it is built on, such as python:3.13-slim-trixie."""
        return self.python.bases[self.os.name]

    @property
    def pinned_base(self) -> str:
        """The base with its digest, name@sha256:…, or the name alone if its digest is not known."""
        return f"{self.base.partition('@')[0]}@{self.base_digest}" if self.base_digest else self.base

    @property
    def base_digest(self) -> str | None:
        """The digest of its base, from its name or else from locks/bases.json; None if it is in neither."""
        return reference.parse(self.base).digest or self.matrix.locks.base_digest(self.base)

    @cached_property
    def packages(self) -> tuple[Locked, ...]:
        """The packages in it, by name. Raises InputError if the lock is missing or was made from another matrix."""
        packages = self.matrix.locks.closure(self.python.version, self.os.libc, self.requirements)
        names = {package.name for package in packages}
        for extra in self.image.extras:
            if (extra.package in names) != (extra in self.extras):
                raise InputError(
                    f"{self.matrix.file}:{extra.line}: the package {extra.package} must be installed where the extra "
                    f"{extra.name} is and nowhere else, but {self.name} has only one of them"
                )
        return packages

    def installs(self, image: Image) -> tuple[Locked, ...]:
        """Return the packages that `image`, which is in its lineage, adds to its parent's."""
        mine = self.at(image)
        before = {package.name for package in self.at(image.parent).packages} if image.parent else set()
        return tuple(package for package in mine.packages if package.name not in before)

    def at(self, image: Image) -> Variant:
        """Return the variant of `image`, which is in its lineage, for the same Python and OS."""
        return self.matrix.variant(image.name, self.python.version, self.os.name)

    @property
    def requirements(self) -> tuple[str, ...]:
        """The requirements of its lineage and of its extras."""
        packages = (requirement for image in self.image.lineage for requirement in image.packages)
        return (*packages, *(extra.requirement for extra in self.extras))

    @cached_property
    def server_version(self) -> str:
        """The version of the server in it, such as 0.18.0."""
        found = {package.name: package.version for package in self.packages}
        server = self.image.server.distribution
        if server not in found:
            file = self.matrix.locks.lock(self.python.version, self.os.libc).file
            raise InputError(f"{file}:1: has no {server}, which {self.name} serves with; run: make lock")
        return found[server]


@dataclass(frozen=True)
class Matrix:
    """All variants, and what they are made from."""

    project: ProjectEntry
    destination: Destination
    platforms: tuple[str, ...]
    oses: tuple[OS, ...]
    pythons: tuple[Python, ...]
    extras: tuple[Extra, ...]
    images: tuple[Image, ...]
    exclusions: tuple[Exclusion, ...]
    tags: tuple[str, ...]  # patterns
    aliases: Mapping[str, tuple[Python, OS]]
    locks: Locks
    file: str

    @cached_property
    def labels(self) -> Labels:
        """The names of the project's own labels."""
        return Labels(self.project.name)

    @cached_property
    def variants(self) -> tuple[Variant, ...]:
        """Every cell that is not left out."""
        return tuple(
            Variant(image, python, os, self)
            for image, python, os in cells(self.images, self.pythons, self.oses)
            if not self.removal(image, python, os)
        )

    def removal(self, image: Image, python: Python, os: OS) -> Exclusion | None:
        """Return the first exclusion that leaves out the cell, None if there is none."""
        return next((exclusion for exclusion in self.exclusions if exclusion.removes(image, python, os)), None)

    @cached_property
    def _by_cell(self) -> dict[tuple[str, str, str], Variant]:
        return {(variant.image.name, variant.python.version, variant.os.name): variant for variant in self.variants}

    def variant(self, image: str, python: str, os: str) -> Variant:
        """Return the variant of a cell. Raises KeyError if it is excluded."""
        return self._by_cell[image, python, os]

    def repository(self, image: Image) -> str:
        """Return where matrix.yaml says that the image is published."""
        return self.destination.repository(image)

    def excluded(self) -> Iterator[tuple[Image, Python, OS, Exclusion]]:
        """Yield the cells that are left out, each with the first exclusion that does so."""
        for cell in cells(self.images, self.pythons, self.oses):
            if exclusion := self.removal(*cell):
                yield (*cell, exclusion)


def tag_of(python: Python, os: OS) -> str:
    """Return the moving tag of a cell."""
    return f"python{python.version}{os.suffix}"


def cells(
    images: tuple[Image, ...], pythons: tuple[Python, ...], oses: tuple[OS, ...]
) -> Iterator[tuple[Image, Python, OS]]:
    """Yield all cells, excluded or not, in the order of all lists."""
    return ((image, python, os) for image in images for python in pythons for os in oses)
