"""The folders of imagematrix/ are the stages of the flow, and imports go one way only. See CONTRIBUTING.md."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

ALLOWED = {
    "machine": set(),
    "matrix": set(),
    "find": {"machine", "matrix"},
    "render": {"matrix"},
    "build": {"machine", "matrix", "render"},
    "prove": {"machine", "matrix", "render", "build"},
    "publish": {"machine", "matrix", "render", "build", "prove"},
}
"""Which folders a folder imports from. What lies beside the folders is for all of them."""


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def test_nothing_in_the_generator_names_this_repositorys_server() -> None:
    files = [path for path in (REPOSITORY / "imagematrix").rglob("*") if path.suffix in (".py", ".sh")]
    assert len(files) > 50
    assert [path.name for path in files if "hypercorn" in path.read_text(encoding="utf-8").lower()] == []


def test_every_folder_is_a_stage() -> None:
    folders = {path.parent.name for path in (REPOSITORY / "imagematrix").glob("*/__init__.py")}
    assert folders == set(ALLOWED)


@pytest.mark.parametrize("folder", ALLOWED)
def test_a_stage_imports_from_stages_before_it_only(folder: str) -> None:
    files = sorted((REPOSITORY / "imagematrix" / folder).glob("*.py"))
    wrong = [
        f"{file.name}: {name}"
        for file in files
        for name in imported(file)
        if name.startswith("imagematrix.")
        and name.split(".")[1] in ALLOWED
        and name.split(".")[1] not in {folder, *ALLOWED[folder]}
    ]
    assert wrong == []
