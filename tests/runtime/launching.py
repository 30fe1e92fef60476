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


def in_flight(pool: ThreadPoolExecutor, server: Server, count: int, seconds: float | None = None) -> list[Any]:
    """Send `count` requests and return their futures once all have reached the application.

    They are answered after that many seconds, or by `server.release()`.
    """
    before = len(server.events("slow"))
    path = "/held" if seconds is None else f"/slow?seconds={seconds}"
    futures = [pool.submit(request, server.address, path) for _ in range(count)]
    server.wait_events("slow", before + count)
    return futures
