"""The work for a variant does not grow with the number of variants."""

from __future__ import annotations

import pytest

from imagematrix.matrix.model import Variant
from imagematrix.render import render as rendering
from tests.conftest import Repository

CHILD = "  hypercorn-fastapi:\n"


class Counted(dict):
    """Files that count how many of them are looked at; to go through them is to look at all."""

    looked = 0

    def __getitem__(self, path: str) -> rendering.File:
        self.looked += 1
        return super().__getitem__(path)

    def __iter__(self):
        self.looked += len(self)
        return super().__iter__()

    def items(self):
        self.looked += len(self)
        return super().items()


def looked_at(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the most files of build/ that are looked at for the digest of one variant."""
    sizes: list[int] = []
    digest = rendering.input_digest

    def counting(variant: Variant, files: rendering.Files, runtime: rendering.Files) -> str:
        counted = Counted(files)
        found = digest(variant, counted, runtime)
        sizes.append(counted.looked)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(rendering, "input_digest", counting)
        rendering.render(repository.load(), repository.root)
    return max(sizes)


def test_a_variant_s_digest_looks_at_its_own_files_only(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = looked_at(repository, monkeypatch)
    entry = "  more{}: {{parent: hypercorn, title: T, description: D, packages: [fastapi>=0.124]}}\n"
    repository.edit(CHILD, "".join(entry.format(number) for number in range(5)) + CHILD)
    assert looked_at(repository, monkeypatch) == before
