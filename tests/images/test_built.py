"""Every variant of the matrix is on the engine and fresh, or it is said why it cannot be had on this machine."""

from __future__ import annotations

import pytest

from imagematrix import cli
from imagematrix.machine import bases
from imagematrix.machine.host import say
from imagematrix.matrix.model import Variant
from imagematrix.render.render import INPUTS_LABEL, input_digest, runtime
from imagematrix.render.tree import on_disk
from tests.images.conftest import has, host


def test_is_built(variant: Variant, client) -> None:
    if not has(variant.references[0]):
        base = bases.obtain(host(), [variant.base], say)[variant.base]
        if isinstance(base, bases.Unavailable):
            pytest.skip(f"not built here: {base.reason}")
        pytest.fail(f"{variant.base} can be had here: run make build")
    files = runtime(cli.ROOT)
    for path in sorted((cli.ROOT / "build").glob(f"*/{variant.tag}/*")):
        files[path.relative_to(cli.ROOT / "build").as_posix()] = on_disk(path)
    labels = client.images.get(variant.references[0]).labels
    assert labels[INPUTS_LABEL] == input_digest(variant, files), "out of date: run make build"
