"""HTTP/2's good-bye, seen by Node's client, which stands on nghttp2 as curl does."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.local import need
from tests.runtime.launching import CLASSES, Launch
from tests.runtime.server import Server

FULL = bool(os.environ.get("FULL"))
RELOADS = 50 if FULL else 2
CONNECTIONS = 4
LOADS = {"gets": (1, 0), "many": (50, 0), "uploads": (50, 100_000)}
"""Requests at once on each connection, and the size of their bodies."""
COVERED = list(itertools.product(CLASSES, LOADS) if FULL else zip(CLASSES, LOADS, strict=True))
"""By default each class has one load in turn; test_h2.py has two on each."""


class Node:
    """`at_once.js`, which goes on until the end of the block; then `counts` are the last."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.counts = process, {"answered": 0, "lost": []}

    def read(self) -> dict[str, Any]:
        """Read the counts of a moment ago."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.counts = json.loads(line) if line else self.counts
        return self.counts

    def finish(self) -> None:
        """Have it answer what is in progress and end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        while self.process.poll() is None:
            self.read()
        self.read()


@contextmanager
def node(one: Server, at_once: int, size: int) -> Iterator[Node]:
    need("node", package="nodejs")
    program = [str(Path(__file__).parent / "at_once.js"), "http://{}:{}".format(*one.address)]
    arguments = [str(number) for number in (CONNECTIONS, at_once, size)]
    with subprocess.Popen(
        ["node", *program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Node(process)
        finally:
            process.kill()


@pytest.mark.parametrize(("worker_class", "load"), COVERED, indirect=["worker_class"])
def test_reloads_lose_no_request(server: Launch, worker_class: str, load: str) -> None:
    at_once, size = LOADS[load]
    with server(WORKER_CLASS=worker_class, ACCESS_LOG="") as one:
        one.serving()
        with node(one, at_once, size) as client:
            for done in range(1, RELOADS + 1):
                goal = client.counts["answered"] + 2 * CONNECTIONS * at_once
                while client.read()["answered"] < goal and not client.counts["lost"]:
                    pass
                one.kill(signal.SIGHUP)
                one.wait_log("Reload complete", done)
            client.finish()
        counts = client.counts
        print(f"{worker_class}: {counts['answered']} answered, {counts['again']} again, {len(counts['lost'])} lost")
        assert counts["lost"] == []
        assert counts["again"] <= CONNECTIONS * RELOADS
        assert one.stop() == 0
