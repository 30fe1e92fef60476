"""A small set of variants that covers every Python and every OS: where a test need not run on each variant."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from imagematrix.matrix.model import Variant
from tests.images.conftest import FILTERS, has, selected
from tests.images.container import Container

WORKERS = (2, 8, 1)


def covering(config: pytest.Config, image: str = "hypercorn") -> list[Variant]:
    """Return one variant a Python, of those selected that the engine has, on the OS that was taken least so far."""
    filters = tuple(tuple(config.getoption(f"--{name}", default=[])) for name in FILTERS)
    built = [one for one in selected(filters) if one.image.name == image and has(one.references[0])]
    taken: Counter[str] = Counter()
    chosen = []
    for python in dict.fromkeys(one.python.version for one in built):
        best = min((one for one in built if one.python.version == python), key=lambda one: taken[one.os.name])
        taken[best.os.name] += 1
        chosen.append(best)
    return chosen


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Run a test that has `cell` on each of the covering variants.

    With `worker_class` too: in turn one of those that the variant has, or all of them with the mark `every_class`.
    With `workers` too: in turn one of WORKERS, or all of them when FULL is set.
    """
    if "cell" not in metafunc.fixturenames:
        return
    cells = covering(metafunc.config)
    full = bool(os.environ.get("FULL"))
    if metafunc.definition.get_closest_marker("long") and not full:
        cells = [cells[0], cells[len(cells) // 2], cells[-1]] if len(cells) > 3 else cells
    if "worker_class" not in metafunc.fixturenames:
        metafunc.parametrize("cell", [_param(one, one.name) for one in cells])
        return
    pairs = [(one, name) for one in cells for name in worker_classes(one)]
    if metafunc.definition.get_closest_marker("every_class") is None:
        pairs = [(one, worker_classes(one)[n % len(worker_classes(one))]) for n, one in enumerate(cells)]
    if "workers" not in metafunc.fixturenames:
        metafunc.parametrize(("cell", "worker_class"), [_param(one, f"{one.name}-{name}", name) for one, name in pairs])
        return
    counts = {one: WORKERS if full else (WORKERS[n % len(WORKERS)],) for n, one in enumerate(cells)}
    metafunc.parametrize(
        ("cell", "worker_class", "workers"),
        [_param(one, f"{one.name}-{name}-{count}", name, count) for one, name in pairs for count in counts[one]],
    )


def worker_classes(variant: Variant) -> list[str]:
    """Return the values of WORKER_CLASS that work in a variant: the server's own and those that its extras bring."""
    brought = [extra.facts["worker_class"] for extra in variant.extras if "worker_class" in extra.facts]
    return sorted(["asyncio", *brought])


def _param(variant: Variant, name: str, *more: str | int) -> object:
    return pytest.param(variant, *more, id=name, marks=pytest.mark.xdist_group(name))


def address(container: Container, variable: str = "TCP_PORT") -> tuple[str, int]:
    """Return where a container in the host's network listens: the engine's proxy accepts before it, and hides that."""
    environ = dict(line.split("=", 1) for line in container.docker.attrs["Config"]["Env"])
    return "127.0.0.1", int(environ[variable])
