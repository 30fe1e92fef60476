"""The launcher with real processes, sockets and clients: what CONTRACT.md says of living and stopping."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.load import Load
from tests.runtime.server import Server, connect, launch, request, response, wait_for

CLASSES = ("asyncio", "uvloop", "trio")
Launch = Callable[..., AbstractContextManager[Server]]
every_class = pytest.mark.parametrize("worker_class", CLASSES, indirect=True)


@pytest.fixture
def server(python: str, tmp_path: Path) -> Launch:
    def start(*arguments: str, **environ: Any) -> AbstractContextManager[Server]:
        variables = {name: str(value) for name, value in environ.items()}
        return launch(python, tmp_path / "app", *arguments, environ=variables)

    return start


def in_flight(pool: ThreadPoolExecutor, server: Server, count: int, seconds: float) -> list[Any]:
    """Send `count` slow requests and return their futures once all have reached the application."""
    before = len(server.events("slow"))
    futures = [pool.submit(request, server.address, f"/slow?seconds={seconds}") for _ in range(count)]
    server.wait_events("slow", before + count)
    return futures


@pytest.mark.every_python
@every_class
@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_loses_no_request(server: Launch, worker_class: str, workers: int) -> None:
    with server(WORKER_CLASS=worker_class, WEB_CONCURRENCY=workers) as one, ThreadPoolExecutor(6) as pool:
        one.serving()
        futures = in_flight(pool, one, 6, 1)
        begun = time.monotonic()
        assert one.stop() == 0, one.log
        assert time.monotonic() - begun < 20, "the end comes when the last request ends"
        assert [future.result()[0] for future in futures] == [200] * 6, one.log
        assert sorted(one.events("shutdown")) == sorted(one.events("startup"))
        assert len(one.events("startup")) == workers
        assert "Traceback" not in one.log


@every_class
@pytest.mark.parametrize("keep_alive", [False, True], ids=["new-connections", "keep-alive"])
@pytest.mark.parametrize("workers", [1, 2, 8, 0])
def test_sigterm_under_load_loses_no_request(server: Launch, worker_class: str, keep_alive: bool, workers: int) -> None:
    with server(WORKER_CLASS=worker_class, WEB_CONCURRENCY=workers) as one:
        one.serving()
        with Load(one.address, keep_alive=keep_alive) as load:
            wait_for(lambda: load.counts["answered"] > 200, "load")
            assert one.stop() == 0, one.log
        assert load.lost == 0, (load.counts, load.failures[:5], one.log[-2000:])
        assert "Traceback" not in one.log
