"""README.md says of images and variables what the matrix and the runtime's table say."""

from __future__ import annotations

import pytest

from imagematrix import cli
from imagematrix.errors import InputError
from imagematrix.matrix.loading import load
from imagematrix.render import readme


def test_the_generated_parts_are_fresh() -> None:
    text = (cli.ROOT / readme.FILE).read_text(encoding="utf-8")
    assert readme.fill(text, load(cli.ROOT), cli.ROOT) == text, "run: make generate"


@pytest.mark.parametrize("part", ["`python3.12-slim`", "`MAX_WORKERS`"])
def test_a_part_that_was_edited_is_made_again(part: str) -> None:
    text = (cli.ROOT / readme.FILE).read_text(encoding="utf-8")
    before, mark, after = text.rpartition(part)
    assert mark
    assert readme.fill(f"{before}edited{after}", load(cli.ROOT), cli.ROOT) == text


def test_a_part_without_its_place_is_an_error() -> None:
    with pytest.raises(InputError, match=r"README\.md: needs the lines"):
        readme.fill("# Hypercorn images\n", load(cli.ROOT), cli.ROOT)
