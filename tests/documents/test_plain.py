"""What README.md says of these images and of plain `hypercorn` beside each other, with the same application."""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest

from tests.local import SCRIPTS, free_port
from tests.runtime.server import Server, connect, descendants, launch, request, response, wait_for

both = pytest.mark.parametrize("ours", [True, False], ids=["ours", "plain"])


def start(ours: bool, directory: Path, port: int, application: str = "main:app") -> AbstractContextManager[Server]:
    plain = [str(SCRIPTS / "hypercorn"), "-w", "2", "--graceful-timeout", "20", "-b", f"127.0.0.1:{port}", application]
    variables = {"TCP_PORT": str(port), "APP_MODULE": application}
    return launch(sys.executable, directory, command=None if ours else plain, environ=variables)


def answers(port: int) -> bool:
    with suppress(OSError, EOFError):
        return request(("127.0.0.1", port))[0] == 200
    return False


@both
def test_a_request_in_progress_at_a_stop_is_answered_by_ours_only(ours: bool, tmp_path: Path) -> None:
    port = free_port()
    with start(ours, tmp_path / "app", port) as server:
        server.wait_events("startup", 2)
        wait_for(lambda: answers(port), "answer")
        with connect(("127.0.0.1", port)) as sock:
            sock.sendall(b"GET /slow?seconds=3 HTTP/1.1\r\nhost: test\r\n\r\n")
            server.wait_events("slow", 1)
            server.kill(signal.SIGTERM)
            assert answer(sock) == (200 if ours else None)


def answer(sock: socket.socket) -> int | None:
    """Return the status of an answer, None if the connection ends before it."""
    with suppress(OSError, EOFError):
        return response(sock)[0]
    return None


@both
def test_a_module_that_cannot_be_imported_is_a_failure_for_ours_only(ours: bool, tmp_path: Path) -> None:
    with start(ours, tmp_path / "app", free_port(), "nothing:app") as server:
        assert server.wait() == (1 if ours else 0), server.log
        assert ("Traceback" in server.log) == (not ours)


@both
def test_a_worker_that_is_killed_is_replaced_by_ours_only(ours: bool, tmp_path: Path) -> None:
    port = free_port()
    with start(ours, tmp_path / "app", port) as server:
        workers = set(server.wait_events("startup", 2))
        wait_for(lambda: answers(port), "answer")
        os.kill(min(workers), signal.SIGKILL)
        if ours:
            server.wait_events("startup", 3)
            wait_for(lambda: len(workers & set(descendants(server.process.pid))) == 1, "end of one worker")
            assert answers(port)
        else:
            server.wait()
            assert not answers(port)
