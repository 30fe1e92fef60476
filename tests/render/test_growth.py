"""The work for a variant does not grow with the number of variants."""

from __future__ import annotations

import pytest

from imagematrix.render import render as rendering
from tests.conftest import Repository

CHILD = "  hypercorn-fastapi:\n"


def looked_at(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the most files that are looked at for the digest of one variant."""
    sizes: list[int] = []
    monkeypatch.setattr(rendering, "input_digest", lambda variant, files: str(sizes.append(len(files))))
    rendering.render(repository.load(), repository.root)
    return max(sizes)


def test_a_variant_s_digest_looks_at_its_own_files_only(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = looked_at(repository, monkeypatch)
    entry = "  more{}: {{parent: hypercorn, title: T, description: D, packages: [fastapi>=0.124]}}\n"
    repository.edit(CHILD, "".join(entry.format(number) for number in range(5)) + CHILD)
    assert looked_at(repository, monkeypatch) == before
