"""Every variant of the matrix is on the engine and fresh, or it is said why it cannot be had on this machine."""

from __future__ import annotations

import pytest

from imagematrix import cli
from imagematrix.machine import base_image, images
from imagematrix.matrix.model import Variant
from imagematrix.render.render import render
from tests.images.conftest import has, host


@pytest.mark.images(built=False)
def test_is_built(variant: Variant, client) -> None:
    if not has(variant.references[0]):
        base = images.obtain(host(), [variant.base])[variant.base]
        if isinstance(base, base_image.Unavailable):
            pytest.skip(f"not built here: {base.reason}")
        pytest.fail(f"{variant.base} can be had here: run make build")
    found = client.images.get(variant.references[0]).labels
    rendered = render(variant.matrix, cli.ROOT, cli.with_parents([variant]))
    assert rendered.why_stale(variant, found) is None, "out of date: run make build"
