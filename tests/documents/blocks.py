"""The blocks of code in README.md, docs/ and examples/: their language, their file, or why nothing checks them.

A block has a language. Its first line may name the file that it is: `# app/main.py`. A block that cannot be checked has
a comment before it: `<!-- not checked: the reason -->`. With `<!-- not run: the reason -->` it is checked, but not run
by tests/images.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from markdown_it import MarkdownIt

from imagematrix.matrix.model import Matrix, Variant
from tests.conftest import REPOSITORY

DOCUMENTS = (
    "README.md",
    *sorted(path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob("docs/*.md")),
    *sorted(path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob("examples/*/README.md")),
)
_REASON = re.compile(r"<!-- not (?P<what>checked|run): (?P<why>.+?) -->", re.DOTALL)
_FILE = re.compile(r"# ((?:[\w.-]+/)*(?:[\w.-]+\.\w+|Dockerfile))\n")


@dataclass(frozen=True)
class Block:
    """A block of code: where it stands, its language, its text, and why it is not checked or not run, if it is not."""

    document: str
    line: int
    language: str
    text: str
    reason: str = ""
    not_run: str = ""

    @property
    def file(self) -> str:
        """The path that its first line names, empty if it names none."""
        found = _FILE.match(self.text)
        return found[1] if found else ""

    @property
    def kind(self) -> str:
        """The language, where YAML is `kubernetes` or `compose`."""
        if self.language != "yaml":
            return self.language
        return "kubernetes" if re.search(r"^apiVersion:", self.text, re.MULTILINE) else "compose"

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def parse(document: str, text: str) -> list[Block]:
    """Return the blocks of a Markdown text, in order."""
    blocks: list[Block] = []
    reasons = {"checked": "", "run": ""}
    for token in MarkdownIt("commonmark").parse(text):
        if token.type in ("fence", "code_block"):
            language = token.info.split()[0] if token.info.split() else ""
            line = token.map[0] + 1 if token.map else 0
            blocks.append(Block(document, line, language, token.content, reasons["checked"], reasons["run"]))
        found = _REASON.fullmatch(token.content.strip()) if token.type == "html_block" else None
        reasons = {"checked": "", "run": ""}
        if found:
            reasons[found["what"]] = " ".join(found["why"].split())
    return blocks


def of_document(document: str) -> list[Block]:
    """Return the blocks of a document of this repository."""
    return parse(document, (REPOSITORY / document).read_text(encoding="utf-8"))


ALL = [block for document in DOCUMENTS for block in of_document(document)]


def texts(document: str, language: str) -> list[str]:
    """Return the blocks of a document in a language, in order."""
    return [block.text for block in ALL if (block.document, block.language) == (document, language)]


def image_pattern(matrix: Matrix) -> re.Pattern[str]:
    """Return a pattern of the images in a text: the groups are `repository` and `tag`, which may be missing."""
    names = "|".join(re.escape(matrix.repository(image)) for image in matrix.images)
    return re.compile(rf"(?<![\w./-])(?P<repository>{names})(?![\w./-])(?::(?P<tag>[\w.-]+))?")


def on(variant: Variant, text: str, named: Callable[[Variant], str] = lambda one: one.references[0]) -> str:
    """Return a text with the images of one cell in the place of those of the matrix. `named` gives their names."""
    repositories = {variant.matrix.repository(image): image for image in variant.matrix.images}

    def reference(found: re.Match[str]) -> str:
        return named(variant.at(repositories[found["repository"]]))

    return image_pattern(variant.matrix).sub(reference, text)
