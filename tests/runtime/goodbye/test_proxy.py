"""HTTP/2's good-bye, seen by a proxy that knows nothing of us: HAProxy, which is told to send nothing again."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.runtime.haproxy import haproxy
from tests.runtime.launching import Launch, every_class
from tests.runtime.load import Load
from tests.runtime.server import wait_for

FULL = bool(os.environ.get("FULL"))
RELOADS = 50 if FULL else 2
CHECK = "proto h2 check inter 100ms fall 1 rise 1"


@every_class
@pytest.mark.parametrize("threads", [4, 50])
def test_haproxy_while_workers_are_replaced(server: Launch, worker_class: str, threads: int, tmp_path: Path) -> None:
    with server(WORKER_CLASS=worker_class, ACCESS_LOG="") as one:
        one.serving()
        with haproxy(tmp_path, [one.address], CHECK) as path, Load(path, keep_alive=True, threads=threads) as load:
            for done in range(1, RELOADS + 1):
                goal = load.counts["answered"] + 200
                wait_for(lambda goal=goal: load.counts["answered"] > goal, "answers")
                one.kill(signal.SIGHUP)
                one.wait_log("Reload complete", done)
            load.finish()
        assert (load.lost, load.failures) == (0, [])
