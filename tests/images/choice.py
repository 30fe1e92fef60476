"""Which variants a test runs on: those that its marker `images` names, as far as the engine has them.

What holds for an image holds for each image that is built on it, so a test of the parent runs on its children too:

    @pytest.mark.images("hypercorn")                     every variant of hypercorn and of the images built on it
    @pytest.mark.images("hypercorn", os=["alpine"])      those on Alpine
    @pytest.mark.images("hypercorn", extras=["h3"])      those with HTTP/3
    @pytest.mark.images("hypercorn", one_per="python")   one for each Python, the OSes and images in turn
    @pytest.mark.images("hypercorn", one_per="os")       for each OS one with the newest Python, the images in turn

`one_per` is for tests that take long: FULL takes one of each image. `at_most=3` takes the oldest, the middle and the
newest Python, unless FULL is set. `images(built=False)` are all variants, also those that the engine lacks.
"""

from __future__ import annotations

import os as system
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from packaging.version import Version

from imagematrix.errors import allowed_instead
from imagematrix.matrix.model import Matrix, Variant

FULL = bool(system.environ.get("FULL"))
WORKERS = (2, 8, 1)


@dataclass(frozen=True)
class Images:
    """What a marker says."""

    image: str = ""
    os: Sequence[str] = ()
    extras: Sequence[str] = ()
    one_per: str = ""
    at_most: int = 0
    built: bool = True

    def check(self, matrix: Matrix) -> None:
        """Raise ValueError if it names what the matrix has not."""
        for kind, named, there in (
            ("image", [self.image] if self.image else [], [image.name for image in matrix.images]),
            ("os", self.os, [os.name for os in matrix.oses]),
            ("extra", self.extras, [extra.name for extra in matrix.extras]),
            ("one_per", [self.one_per] if self.one_per else [], ["python", "os"]),
        ):
            for name in named:
                if name not in there:
                    raise ValueError(f"{kind} {name!r}: {allowed_instead(name, there)}")

    def of(self, variants: Iterable[Variant], *, full: bool = FULL) -> list[Variant]:
        """Return those of the variants that are meant."""
        meant = [one for one in variants if self.means(one)]
        if self.at_most and not full:
            pythons = spread(sorted({one.python.version for one in meant}, key=Version), self.at_most)
            meant = [one for one in meant if one.python.version in pythons]
        return one_of_each(meant, self.one_per, full=full) if self.one_per else meant

    def means(self, variant: Variant) -> bool:
        """Say whether a test with this marker holds for a variant."""
        return (
            (not self.image or self.image in [ancestor.name for ancestor in variant.image.lineage])
            and (not self.os or variant.os.name in self.os)
            and set(self.extras) <= {extra.name for extra in variant.extras}
        )


def marked(metafunc: pytest.Metafunc, matrix: Matrix) -> Images | None:
    """Return what the marker of a test says, None if it runs on no image. A wrong marker fails the collection."""
    marker, uses = metafunc.definition.get_closest_marker("images"), "variant" in metafunc.fixturenames
    if marker is None and not uses:
        return None
    try:
        if marker is None:
            raise ValueError(f"is missing, such as @pytest.mark.images({matrix.images[0].name!r})")
        if not uses:
            raise ValueError("is there, but the test uses neither `variant` nor `image`")
        images = Images(*marker.args, **marker.kwargs)
        images.check(matrix)
    except (TypeError, ValueError) as error:
        pytest.fail(f"{metafunc.definition.nodeid}: its marker `images`: {error}", pytrace=False)
    return images


def spread(names: list[str], at_most: int) -> list[str]:
    """Return the first, the last and what is evenly between them; of one, the first."""
    if len(names) <= at_most:
        return names
    return [names[round(position * (len(names) - 1) / max(at_most - 1, 1))] for position in range(at_most)]


def one_of_each(variants: Iterable[Variant], axis: str, *, full: bool) -> list[Variant]:
    """Return one variant for each Python or OS, where there is a choice of the newest Python, and the rest in turn."""
    groups: dict[tuple[str, str], list[Variant]] = {}
    for one in variants:
        name = one.python.version if axis == "python" else one.os.name
        groups.setdefault((name, one.image.name if full else ""), []).append(one)
    taken: Counter[str] = Counter()
    chosen = []
    for group in groups.values():
        newest = max(Version(one.python.version) for one in group)
        there = [one for one in group if Version(one.python.version) == newest]
        best = min(there, key=lambda one: (taken[one.os.name], taken[one.image.name]))
        taken.update((best.os.name, best.image.name))
        chosen.append(best)
    return chosen


def parametrize(metafunc: pytest.Metafunc, variants: Iterable[Variant]) -> None:
    """Run a test on each of the variants.

    With `worker_class` too: in turn one of those that the variant has, or all of them with the mark `every_class`.
    With `workers` too: in turn one of WORKERS, or all of them when FULL is set.
    """
    names, rows = ["variant"], [(one,) for one in variants]
    if "worker_class" in metafunc.fixturenames:
        every = metafunc.definition.get_closest_marker("every_class") is not None
        names, rows = [*names, "worker_class"], crossed(rows, worker_classes, every=every)
    if "workers" in metafunc.fixturenames:
        names, rows = [*names, "workers"], crossed(rows, lambda variant: WORKERS, every=FULL)
    metafunc.parametrize(names, [_param(*row) for row in rows], scope="session")


Row = tuple[Any, ...]


def crossed(rows: list[Row], values_of: Callable[[Variant], Sequence[Any]], *, every: bool) -> list[Row]:
    """Return the rows with one more value each: every value of the variant, or one in turn."""
    return [
        (*row, value)
        for number, row in enumerate(rows)
        for values in [values_of(row[0])]
        for value in (values if every else [values[number % len(values)]])
    ]


def worker_classes(variant: Variant) -> list[str]:
    """Return the values of WORKER_CLASS that work in a variant: the server's own and those that its extras bring."""
    brought = [extra.facts["worker_class"] for extra in variant.extras if "worker_class" in extra.facts]
    return sorted(["asyncio", *brought])


def _param(variant: Variant, *more: str | int) -> Any:
    name = "-".join(map(str, (variant.name, *more)))
    group = name if more else variant.name  # pytest-xdist runs a group on one process: they share what was started
    return pytest.param(variant, *more, id=name, marks=pytest.mark.xdist_group(group))
