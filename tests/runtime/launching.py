"""What the tests of the launcher have in common."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.runtime.server import Server, request

CLASSES = ("asyncio", "uvloop", "trio")
Launch = Callable[..., AbstractContextManager[Server]]
every_class = pytest.mark.every_class
"""Run on every worker class; `conftest` says on which Pythons."""


def in_flight(pool: ThreadPoolExecutor, server: Server, count: int, seconds: float) -> list[Any]:
    """Send `count` slow requests and return their futures once all have reached the application."""
    before = len(server.events("slow"))
    futures = [pool.submit(request, server.address, f"/slow?seconds={seconds}") for _ in range(count)]
    server.wait_events("slow", before + count)
    return futures
