"""The folders of imagematrix/ are the stages of the flow, and imports go one way only. The tests are in folders of the
same names. See CONTRIBUTING.md.
"""

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

OWN_FOLDERS = {"images", "runtime", "fork", "documents", "bench"}
"""Folders of tests/ that are no stage: running containers, runtime/, a second matrix, the documents, `make bench`."""
WHOLE = {"documents", "layout", "lint", "makefile", "workflows"}
"""What is tested beside the folders and is no module: the repository as a whole."""


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


def test_every_folder_of_tests_is_a_stage() -> None:
    folders = {path.name for path in (REPOSITORY / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == {*ALLOWED, *OWN_FOLDERS}


def test_a_test_lies_in_the_folder_of_a_stage_that_it_imports() -> None:
    wrong, right = [], 0
    for stage in ALLOWED:
        for path in (REPOSITORY / "tests" / stage).glob("test_*.py"):
            used = {name.split(".")[1] for name in imported(path) if name.startswith("imagematrix.")}
            right += stage in used
            wrong += [path.name] if stage not in used and used & (set(ALLOWED) - {"machine"}) else []
    assert wrong == []
    assert right > 20


def test_beside_the_folders_are_the_tests_of_what_lies_beside_the_stages() -> None:
    beside = {path.stem.removeprefix("test_") for path in (REPOSITORY / "tests").glob("test_*.py")}
    assert beside <= {*WHOLE, *(path.stem for path in (REPOSITORY / "imagematrix").glob("*.py"))}


def test_no_two_test_modules_have_one_name() -> None:
    names = [path.name for path in (REPOSITORY / "tests").rglob("test_*.py")]
    assert [name for name in names if names.count(name) > 1] == []
