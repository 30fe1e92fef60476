"""What the maintainers' documents name is there."""

from __future__ import annotations

import re

import pytest
from hypercorn_image.config.options import TABLE

from imagematrix.matrix.model import Matrix
from tests.conftest import REPOSITORY, verbs

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/fork.md", "docs/publishing.md")
PAPERS = ("CHANGELOG.md", "SECURITY.md", *sorted(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md")))
ROOTS = (".", "imagematrix", ".github/workflows", "runtime/opt/hypercorn/hypercorn_image")
"""The folders that paths in CONTRIBUTING.md and docs/ are relative to."""
MADE_LATER = {"locks/bases.json"}
"""The first run of the workflow Refresh locks makes it."""


def text(document: str) -> str:
    """Return a document without its blocks of code."""
    return re.sub(r"(?s)^```.*?^```$", "", (REPOSITORY / document).read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_every_link_to_a_file_leads_to_one() -> None:
    links = [
        (document, link)
        for document in {*DOCUMENTS, *PAPERS}
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text(document))
    ]
    assert links
    assert [link for link in links if not ((REPOSITORY / link[0]).parent / link[1]).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS[1:])
def test_every_path_is_there(document: str) -> None:
    paths = re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[\w.-]+\.(?:py|yml|yaml|json|md|txt))`", text(document))
    assert len(paths) > 3
    assert [
        path
        for path in paths
        if path not in MADE_LATER and not any((REPOSITORY / root / path).exists() for root in ROOTS)
    ] == []


@pytest.mark.parametrize("document", DOCUMENTS[1:])
def test_every_command_is_there(document: str) -> None:
    named = set(re.findall(r"`(?:\w+=\w+ )*make ([a-z-]+)", (REPOSITORY / document).read_text(encoding="utf-8")))
    assert named
    assert named <= {*verbs()}


def test_the_changelog_names_every_variable_under_the_version_that_brought_it() -> None:
    _, *parts = re.split(
        r"^## \[(.+?)\]", (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    names = [(option.since, name) for option in TABLE for name in (option.variable, f"{option.variable}_FILE")]
    secret = {option.variable for option in TABLE if option.secret}
    wanted = [(since, name) for since, name in names if not name.endswith("_FILE") or name[: -len("_FILE")] in secret]
    assert [one for one in wanted if f"`{one[1]}`" not in sections.get(one[0], "")] == []


def test_the_support_page_has_the_dates_of_the_matrix(matrix: Matrix) -> None:
    rows = re.findall(r"^\| (3\.\d+) \| (\S+) \| (\S+) \|$", text("docs/support.md"), re.MULTILINE)
    wanted = [(one.version, str(one.end_of_life), one.status) for one in reversed(matrix.pythons)]
    assert rows == wanted
    assert all(f"`{platform}`" in text("docs/support.md") for platform in matrix.platforms)
