"""The figures on README.md's first screen are those of the documents that it names."""

from __future__ import annotations

import re

from tests.conftest import REPOSITORY


def test_each_figure_stands_in_the_document_that_its_row_names() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [^|]+ \|([^|]+)\|([^|]*)\| \[[^]]+\]\((docs/[\w/-]+\.md)[^)]*\) \|$", text, re.MULTILINE)
    figures = [
        (document, figure)
        for *cells, document in rows
        for cell in cells
        for figure in re.findall(r"[\d.]+ (?:MiB|s)|\d+,\d+", cell)
    ]
    assert len(figures) == 7
    assert [one for one in figures if one[1] not in (REPOSITORY / one[0]).read_text(encoding="utf-8")] == []
