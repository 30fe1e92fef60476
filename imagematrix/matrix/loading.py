"""Makes the model from matrix.yaml, and refuses contradictions: unknown names, exclusions that match nothing, two
variants with one tag, aliases without a target.

`schema` has checked each value by itself. Here are the checks that compare two places of the file.
"""

import re
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from imagematrix import reference
from imagematrix.errors import allowed_instead
from imagematrix.matrix.locks import Locks
from imagematrix.matrix.model import (
    OS,
    Destination,
    Exclusion,
    Extra,
    Image,
    Matrix,
    Python,
    Server,
    Variant,
    cells,
    tag_of,
)
from imagematrix.matrix.schema import ExclusionEntry, ImageEntry, MatrixFile, parse
from imagematrix.matrix.source import Source, Where, read, shortened
from imagematrix.matrix.tags import is_complete, looks_like

MOST_ANCESTORS = 10
"""Images that an image can be built on. Each adds a stage to every Dockerfile."""
FILES_OF_BUILD = ("ci-matrix.json", "docker-bake.json", "manifest.json", "matrix.schema.json", "tags.json")
"""The files of build/ beside the images' folders."""
ROOT_KEYS = ("server", "template", "runtime", "probe")
"""The keys of an image without a parent. They hold for all images that are built on it."""


def load(root: Path) -> Matrix:
    """Return the matrix of the repository at `root`.

    It has its own order: versions ascend, names are sorted. Raises InputError that lists every problem of matrix.yaml
    with its line.
    """
    source = read(root / "matrix.yaml")
    return _Loader(source, parse(source), Locks(root / "locks")).matrix()


class _Loader:
    """Turns the entries of the file into the model, and notes contradictions."""

    def __init__(self, source: Source, file: MatrixFile, locks: Locks) -> None:
        self.source, self.file, self.locks = source, file, locks

    def matrix(self) -> Matrix:
        self.names()
        self.check_extras()
        self.source.check()
        file = self.file
        extras = tuple(
            Extra(name=name, line=self.source.line(("extras", name)), **dict(entry))
            for name, entry in sorted(file.extras.items())
        )
        self.images = self.make_images({extra.name: extra for extra in extras})
        self.source.check()
        self.pythons = tuple(
            Python(version=version, **dict(file.pythons[version])) for version in sorted(file.pythons, key=Version)
        )
        oses = [OS(name=name, rank=rank, **dict(entry)) for rank, (name, entry) in enumerate(file.os.items())]
        self.oses = tuple(sorted(oses, key=lambda os: (os.libc, os.suffix)))
        matrix = Matrix(
            project=file.project,
            destination=Destination(file.registry, file.namespace),
            platforms=tuple(sorted(file.platforms)),
            oses=self.oses,
            pythons=self.pythons,
            extras=extras,
            images=self.images,
            exclusions=tuple(self.exclusion(*numbered) for numbered in enumerate(file.exclusions)),
            tags=tuple(sorted(file.tags)),
            aliases=self.alias_targets(),
            locks=self.locks,
            file=self.source.name,
        )
        self.check_bases(matrix)
        self.source.check()
        self.useless_exclusions(matrix)
        self.check_aliases(matrix)
        if not matrix.variants:
            self.source.problem(("exclusions",), "nothing is left of the matrix")
        self.check_unique(matrix.variants)
        self.check_look_alikes(matrix.variants)
        self.source.check()
        return matrix

    def known(self, where: Where, names: list[str] | None, kind: str, allowed: list[str]) -> None:
        """Each of `names` is allowed and is listed once."""
        for position, name in enumerate(names or ()):
            place = (*where, position) if (*where, position) in self.source.lines else where
            if name not in allowed:
                text = f"{shortened(repr(name))} is no {kind} of this matrix; {allowed_instead(name, allowed)}"
                self.source.problem(place, text)
            elif name in (names or ())[:position]:
                self.source.problem(place, f"{name} is listed twice")

    def names(self) -> None:
        """Every name that refers to another part of the file exists there."""
        file = self.file
        self.known(("platforms",), list(file.platforms), "platform", list(file.platforms))
        self.known(("tags",), file.tags, "tag", file.tags)
        for version, python in file.pythons.items():
            self.known(("pythons", version, "bases"), list(python.bases), "os", list(file.os))
            self.known(("pythons", version, "unchecked"), list(python.unchecked), "os", list(python.bases))
        for name, image in file.images.items():
            self.known(("images", name, "extras"), image.extras, "extra", list(file.extras))
            self.known(("images", name, "packages"), image.packages, "package", image.packages)
            self.known(("images", name, "parent"), [image.parent] if image.parent else [], "image", list(file.images))
        for position, exclusion in enumerate(file.exclusions):
            where = ("exclusions", position)
            self.known((*where, "python"), exclusion.python, "Python", list(file.pythons))
            self.known((*where, "os"), exclusion.os, "os", list(file.os))
            self.known((*where, "image"), exclusion.image, "image", list(file.images))
            self.known((*where, "extra"), exclusion.extra, "extra", list(file.extras))
        for name, alias in file.aliases.items():
            self.known(("aliases", name, "os"), [alias.os], "os", list(file.os))
            wanted = [alias.python] if alias.python else []
            self.known(("aliases", name, "python"), wanted, "Python", list(file.pythons))

    def check_extras(self) -> None:
        """Every extra belongs to an image, and no two have the same package or fact."""
        used = {extra for image in self.file.images.values() for extra in image.extras}
        seen: dict[tuple[str, str], str] = {}
        for name, entry in self.file.extras.items():
            if name not in used:
                self.source.problem(("extras", name), f"no image has the extra {name}; add it to one or remove it here")
            for key, value in (("package", entry.package), *entry.facts.items()):
                if (other := seen.setdefault((key, value), name)) != name:
                    where = ("extras", name, *(("facts",) if key in entry.facts else ()), key)
                    self.source.problem(where, f"{value} is the {key} of {other} already")

    def make_images(self, extras: dict[str, Extra]) -> tuple[Image, ...]:
        """Return the images, a parent always before its children."""
        made: dict[str, Image] = {}
        for name in self.parents_first():
            entry = self.file.images[name]
            parent = made.get(entry.parent or "")
            server = parent.server if parent else None if entry.parent else self.server(name, entry)
            if parent and len(parent.lineage) > MOST_ANCESTORS:
                text = f"an image has at most {MOST_ANCESTORS} ancestors, because each makes a layer of its own"
                self.source.problem(("images", name), text)
            elif server:  # else a problem has been noted, of it or of an ancestor
                own = tuple(extras[extra] for extra in sorted(set(entry.extras)))
                made[name] = Image(name, entry.title, entry.description, tuple(entry.packages), own, parent, server)
                self.check_image(made[name], entry)
        return tuple(made.values())

    def parents_first(self) -> tuple[str, ...]:
        """Return the names of the images, a parent always before its children; none if one is its own ancestor."""
        images = sorted(self.file.images.items())
        try:
            return tuple(
                TopologicalSorter({name: filter(None, [entry.parent]) for name, entry in images}).static_order()
            )
        except CycleError as error:
            chain = error.args[1][::-1]
            text = f"an image cannot be its own ancestor: {' -> '.join(chain)}"
            self.source.problem(("images", chain[0], "parent"), text)
            return ()

    def server(self, name: str, entry: ImageEntry) -> Server | None:
        """Return the server of a root image; note which keys are missing."""
        if not (entry.server and entry.template and entry.runtime and entry.probe):
            for key in ROOT_KEYS:
                if getattr(entry, key) is None:
                    self.source.problem(
                        ("images", name), f"images.{name}.{key} is missing: an image without a parent needs it"
                    )
            return None
        return Server(entry.server, entry.template, entry.runtime, entry.probe, entry.variables)

    def check_image(self, image: Image, entry: ImageEntry) -> None:
        for key in (*ROOT_KEYS, "variables") if image.parent else ():
            if getattr(entry, key) is not None:
                text = f"{key} comes from {image.lineage[0].name}, which {image.name} is built on; remove it here"
                self.source.problem(("images", image.name, key), text)
        inherited = {extra.name for extra in image.parent.extras} if image.parent else set()
        for position, extra in enumerate(entry.extras):
            where = ("images", image.name, "extras", position)
            if extra in inherited:
                self.source.problem(where, f"{extra} comes from the parent already; remove it here")
        folders = {image.server.runtime.partition("/")[0], image.server.template.partition("/")[0]}
        if image.name in {*FILES_OF_BUILD, *folders}:
            text = f"{image.name} is the name of a file or folder of build/; choose another name for the image"
            self.source.problem(("images", image.name), text)
        if image.parent is None:
            self.check_server(image)

    def check_server(self, image: Image) -> None:
        """It installs the server, with a lower bound: without it a resolver takes releases that have no extras."""
        where, server = ("images", image.name, "packages"), image.server.distribution
        requirements = [Requirement(requirement) for requirement in image.packages]
        servers = [requirement for requirement in requirements if canonicalize_name(requirement.name) == server]
        if not servers:
            text = f"{image.name} does not install the server: add {server}>=… or give it a parent"
            self.source.problem(where, text)
        elif not any(
            bound.operator in (">=", "==", "~=", ">") for requirement in servers for bound in requirement.specifier
        ):
            text = f"{server} needs a lower bound, such as {server}>=0.17.3: without one a resolver "
            self.source.problem(where, text + "that finds no wheel for an extra goes back to a release without it")

    def exclusion(self, position: int, entry: ExclusionEntry) -> Exclusion:
        where = ("exclusions", position)
        if entry.until and not entry.extra:
            self.source.problem((*where, "until"), "only the exclusion of an extra can end with a wheel; add extra")
        if not (entry.python or entry.os or entry.image or entry.extra):
            self.source.problem(where, "an exclusion must name a python, an os, an image or an extra")
        self.inherited_extras(where, entry)
        return Exclusion(
            self.source.line(where),
            frozenset(entry.python) if entry.python else None,
            frozenset(entry.os) if entry.os else None,
            frozenset(entry.image) if entry.image else None,
            frozenset(entry.extra or ()),
            entry.until == "wheel",
            entry.reason,
        )

    def inherited_extras(self, where: Where, entry: ExclusionEntry) -> None:
        """A child has its parent's layers, so an extra can be excluded only from the image that adds it."""
        by_name = {image.name: image for image in self.images}
        for name in entry.image or ():
            for extra in entry.extra or ():
                for ancestor in by_name[name].lineage[:-1]:
                    if any(own.name == extra for own in ancestor.own_extras) and ancestor.name not in (
                        entry.image or ()
                    ):
                        self.source.problem(
                            (*where, "image"), f"{name} has {extra} from {ancestor.name}; exclude it there"
                        )

    def useless_exclusions(self, matrix: Matrix) -> None:
        """Every exclusion leaves out something that no exclusion before it leaves out."""
        left = {
            (image.name, python.version, os.name, extra): (image, python, os)
            for image, python, os in cells(self.images, self.pythons, self.oses)
            for extra in (None, *(extra.name for extra in image.extras))
        }
        for position, exclusion in enumerate(matrix.exclusions):
            matched = {
                key
                for key, cell in left.items()
                if exclusion.covers(*cell) and (not exclusion.extras or key[3] in exclusion.extras)
            }
            if not matched:
                text = "this exclusion matches nothing"
                if any(exclusion.covers(*cell) for cell in cells(self.images, self.pythons, self.oses)):
                    text += " that is in the matrix and not excluded above it"
                self.source.problem(("exclusions", position), f"{text}; correct or remove it")
            for extra in sorted(exclusion.extras - {key[3] for key in matched if key[3]}) if matched else ():
                self.source.problem(("exclusions", position, "extra"), f"{extra} is in none of the cells named here")
            for key in matched:
                del left[key]

    def check_bases(self, matrix: Matrix) -> None:
        """Every base image that is used is named, and has the Python and the C library of its place."""
        for python in self.pythons:
            for os in self.oses:
                where = ("pythons", python.version, "bases")
                if os.name not in python.bases:
                    if not all(matrix.removal(image, python, os) for image in self.images):
                        text = f"Python {python.version} has no base for {os.name}: name the official image, "
                        self.source.problem(where, text + "or exclude the cell with its reason")
                elif os.name not in python.unchecked and (why := _misplaced(python.bases[os.name], python, os)):
                    self.source.problem((*where, os.name), why)

    def alias_targets(self) -> dict[str, tuple[Python, OS]]:
        """Return the cell that each alias points at in every image."""
        stable = [python for python in self.pythons if python.status == "stable"]
        pythons, oses = {python.version: python for python in self.pythons}, {os.name: os for os in self.oses}
        targets = {}
        for name, alias in self.file.aliases.items():
            if alias.python or stable:
                targets[name] = (pythons[alias.python] if alias.python else stable[-1], oses[alias.os])
            else:
                self.source.problem(("aliases", name), f"the alias {name} has no target: no Python is stable")
        return targets

    def check_aliases(self, matrix: Matrix) -> None:
        """An alias has a target in some image, of the Python in its name, and is not the tag of a variant."""
        own = {tag_of(python, os) for python in self.pythons for os in self.oses}
        for name, (python, os) in matrix.aliases.items():
            where = ("aliases", name)
            if python.status == "prerelease":
                self.source.problem((*where, "python"), f"Python {python.version} is a pre-release and takes no alias")
            removals = [matrix.removal(image, python, os) for image in self.images]
            if removals[0] and all(removals):
                text = f"{self.images[0].name}:{tag_of(python, os)} is excluded on line {removals[0].line}"
                self.source.problem(where, f"the alias {name} has no target: {text}")
            named = re.match(r"(?:python)?([0-9]+\.[0-9]+)(?![0-9])", name)
            if named and named[1] != python.version:
                text = f"{name} names Python {named[1]}, but it would point at {python.version}; give it a python"
                self.source.problem(where, text)
            if name in own:
                self.source.problem(where, f"two variants with one tag: {name} is the tag of a variant")

    def check_unique(self, variants: Iterable[Variant]) -> None:
        """No two variants share a bake target, a folder or a tag, ignoring case.

        One problem for each variant is enough, because two variants that share one tag usually share others.
        """
        seen: dict[tuple[str, str], Variant] = {}
        told: set[Where] = set()
        for variant in variants:
            for kind, name in _names(variant):
                other = seen.setdefault((kind, name.lower()), variant)
                where = self.differing(variant, other, name)
                if other is variant:
                    continue
                if where not in told:
                    told.add(where)
                    line = self.source.line(self.differing(other, variant, name))
                    text = f"two variants with one {kind}: {other.name} (line {line}) and {variant.name} have {name}"
                    self.source.problem(where, text)
                break

    def check_look_alikes(self, variants: Iterable[Variant]) -> None:
        """No tag can become equal to one with a version or a day."""
        named = {tag: variant for variant in variants for tag in variant.named_tags}
        later = {pattern: variant for variant in variants for pattern in variant.patterns if not is_complete(pattern)}
        for pattern, variant in later.items():
            for tag in filter(re.compile(looks_like(pattern)).fullmatch, named):
                where = ("aliases", tag) if tag in self.file.aliases else ("tags", 0)
                self.source.problem(where, f"{tag} looks like a dated or version tag of {variant.tag}")

    def differing(self, variant: Variant, other: Variant, name: str) -> Where:
        """Return the place of the file where `variant` and `other` differ."""
        if (alias := name.rpartition(":")[2]) in self.file.aliases and alias in variant.aliases:
            return ("aliases", alias)
        if alias in variant.patterns:
            return ("tags", 0)
        if variant.image != other.image:
            return ("images", variant.image.name)
        if variant.os != other.os:
            return ("os", variant.os.name, "suffix")
        return ("pythons", variant.python.version)


def _names(variant: Variant) -> Iterator[tuple[str, str]]:
    """Yield the names that must be unique."""
    for tag in (variant.tag, *variant.aliases):
        yield "tag", f"{variant.image.name}:{tag}"
    yield "folder", variant.directory
    yield "bake target", variant.target
    for tag in variant.patterns:
        yield "tag", f"{variant.image.name}:{tag}"


def _misplaced(base: str, python: Python, os: OS) -> str | None:
    """Return why a base image does not fit a Python and an OS, None if its name says that it does.

    Only the tags of a repository named python are known to begin with the Python version.
    """
    name = reference.parse(base)
    if name.path.rpartition("/")[2] != "python":
        why = "its name does not tell its Python"
    elif not re.match(rf"{re.escape(python.version)}(?![0-9])", name.tag or ""):
        why = f"it is not of Python {python.version}"
    elif ("alpine" in (name.tag or "")) != (os.libc == "musl"):
        why = f"its C library is not {os.libc}, as os.{os.name}.libc says"
    else:
        return None
    return f"{base} cannot stand here: {why}; correct it, or say under `unchecked` what it has"
