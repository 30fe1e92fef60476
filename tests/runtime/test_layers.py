"""The modules of the runtime import in one direction, and each says its job in its first line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter

import pytest

from tests.runtime.server import RUNTIME

PACKAGE = RUNTIME / "opt/hypercorn/hypercorn_image"
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path != PACKAGE / "__init__.py"
}


def layers() -> list[str]:
    """Return the layers that the package's own documentation lists, the lowest first."""
    documentation = ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text())) or ""
    found = re.search(r"^(\w+(?:, \w+)+)$", documentation, re.MULTILINE)
    assert found
    return found[1].split(", ")


def imported(name: str) -> Iterator[str]:
    """Yield the modules of the package that a module imports, inside of functions too."""
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "hypercorn_image":
            base = node.module.split(".")[1:]
            for alias in node.names:
                whole = ".".join([*base, alias.name])
                yield whole if whole in MODULES else ".".join(base)


def test_no_module_imports_itself_by_way_of_others() -> None:
    TopologicalSorter({name: set(imported(name)) for name in MODULES}).prepare()  # raises CycleError


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_from_its_own_layer_and_those_before_it(name: str) -> None:
    order = layers()
    own = name.split(".")[0]
    if own in order:
        allowed = order[: order.index(own) + 1]
        assert [other for other in imported(name) if other.split(".")[0] not in allowed] == []


@pytest.mark.parametrize("name", MODULES)
def test_a_module_says_its_job_in_its_first_line(name: str) -> None:
    documentation = ast.get_docstring(ast.parse(MODULES[name].read_text())) or ""
    assert 20 < len(documentation.splitlines()[0]) <= 120
