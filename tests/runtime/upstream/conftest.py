"""Notes in each test's result which assumption it is about."""

from __future__ import annotations

from collections.abc import Callable

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "holds(name): the assumption that the test shows to hold")


@pytest.fixture(autouse=True)
def assumption(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> None:
    for marker in request.node.iter_markers("holds"):
        record_property("assumption", marker.args[0])
