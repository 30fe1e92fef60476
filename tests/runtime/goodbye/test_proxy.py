"""HTTP/2's good-bye, seen by a proxy that knows nothing of us: HAProxy, which is told to send nothing again."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.local import need
from tests.runtime.launching import Launch, every_class
from tests.runtime.load import Load
from tests.runtime.server import Server, wait_for

FULL = bool(os.environ.get("FULL"))
RELOADS = 50 if FULL else 2


@contextmanager
def haproxy(directory: Path, *servers: Server) -> Iterator[str]:
    """HAProxy, with HTTP/2 to `servers` and HTTP/1.1 from its clients, on a unix socket whose path it yields."""
    need("haproxy", package="haproxy")
    path = directory / "haproxy.socket"
    lines = "\n".join(
        "  server s{} {}:{} proto h2 check inter 100ms fall 1 rise 1".format(number, *one.address)
        for number, one in enumerate(servers)
    )
    (directory / "haproxy.cfg").write_text(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n  retries 0\n"
        "  retry-on none\n  http-reuse always\n"
        f"frontend f\n  bind unix@{path}\n  default_backend b\nbackend b\n{lines}\n"
    )
    with subprocess.Popen(["haproxy", "-db", "-f", str(directory / "haproxy.cfg")]) as process:
        try:
            wait_for(path.exists, "socket of HAProxy")
            yield str(path)
        finally:
            process.kill()


@every_class
@pytest.mark.parametrize("threads", [4, 50])
def test_haproxy_while_workers_are_replaced(server: Launch, worker_class: str, threads: int, tmp_path: Path) -> None:
    with server(WORKER_CLASS=worker_class, ACCESS_LOG="") as one:
        one.serving()
        with haproxy(tmp_path, one) as path, Load(path, keep_alive=True, threads=threads) as load:
            for done in range(1, RELOADS + 1):
                goal = load.counts["answered"] + 200
                wait_for(lambda goal=goal: load.counts["answered"] > goal, "answers")
                one.kill(signal.SIGHUP)
                one.wait_log("Reload complete", done)
            load.finish()
        assert (load.lost, load.failures) == (0, [])
