"""The files of examples/ are fit to be copied. tests/images/test_built_examples.py builds and uses them."""

from __future__ import annotations

import pytest

from tests.conftest import REPOSITORY
from tests.documents.blocks import Block
from tests.documents.checks import dockerfile

FOLDERS = [path for path in sorted((REPOSITORY / "examples").iterdir()) if path.is_dir()]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_an_example_has_a_readme_and_a_dockerfile_without_mistakes(folder) -> None:
    assert (folder / "README.md").is_file()
    dockerfile(Block(folder.name, 1, "dockerfile", (folder / "Dockerfile").read_text(encoding="utf-8")))


def test_the_front_page_names_every_example() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert [folder.name for folder in FOLDERS if f"(examples/{folder.name})" not in text] == []
