"""docs/logs.md lists every line that the runtime logs or raises, and no other. Compared in both directions."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator

from hypercorn_image.process import words

from tests.runtime.server import RUNTIME

LEVELS = {"debug", "info", "warning", "error"}
ARGUMENT = {
    "Line": 1,
    "_say": 1,
    "_say_once": 0,
    "log": 1,
    "StartError": 0,
    "_fail": 0,
    **dict.fromkeys(LEVELS, 0),
}
"""What says something, and which argument is the text."""
SENTENCE = 4
"""A text of so many words that a function returns is taken for one of these lines; `problems` are collected so."""


def shape(text: str) -> str:
    """Return a text with an ellipsis for each value in it."""
    return re.sub(r"%[sdg]|%\(\w+\)s", "…", " ".join(text.split()))


class Said(ast.NodeVisitor):
    """Collects the texts of one module."""

    def __init__(self, tree: ast.Module) -> None:
        self.found: set[str] = set()
        self._assigned: dict[str, list[ast.expr]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self._assigned.setdefault(node.targets[0].id, []).append(node.value)
        self.visit(tree)

    def texts(self, node: ast.expr) -> Iterator[str]:
        """Yield every text that an expression may be."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            right = list(self.texts(node.right)) or ["…"]
            for pair in itertools.product(self.texts(node.left), right):
                yield "".join(pair)
        elif isinstance(node, ast.IfExp):
            for side in (node.body, node.orelse):
                yield from list(self.texts(side)) or ["…"]
        elif isinstance(node, (ast.List, ast.Tuple)):
            for item in node.elts:
                yield from self.texts(item)
        elif isinstance(node, ast.Name):
            for value in self._assigned.get(node.id, []):
                yield from self.texts(value)
        elif isinstance(node, ast.Attribute) and isinstance(getattr(words, node.attr, None), str):
            yield getattr(words, node.attr)

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if ast.unparse(node.func) == "problems.add":
            self._add(self.texts(node.args[1]))
        elif name in ARGUMENT and len(node.args) > ARGUMENT[name]:
            self._add(self.texts(node.args[ARGUMENT[name]]))
        self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None:
            self._add(text for text in self.texts(node.value) if len(shape(text).split()) >= SENTENCE)
        self.generic_visit(node)

    def _add(self, texts: Iterator[str]) -> None:
        self.found |= {shape(text) for text in texts if "\n" not in text and text.strip("… ")}


def said() -> set[str]:
    found: set[str] = set()
    for path in sorted((RUNTIME / "opt").rglob("*.py")):
        found |= Said(ast.parse(path.read_text())).found
    for path in sorted(RUNTIME.glob("*.sh")):
        found |= {
            re.sub(r"\$\w+", "…", line)
            for line in re.findall(r'echo "hypercorn-image: error: (.*?)"', path.read_text())
        }
    return found


def documented() -> set[str]:
    lines = (RUNTIME.parent / "docs/logs.md").read_text().splitlines()
    return {match[2].replace("\\|", "|") for line in lines if (match := re.match(r"\| (`+)(.*?)\1 \|", line))}


def test_every_line_of_the_runtime_is_in_the_table() -> None:
    assert sorted(said() - documented()) == []


def test_the_table_lists_no_line_that_is_gone() -> None:
    assert sorted(documented() - said()) == []
