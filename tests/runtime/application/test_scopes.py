"""Scopes hold nothing that cannot be copied: middleware copies them deeply, Hypercorn's own too."""

from __future__ import annotations

from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.runtime.launching import Launch, every_class

APPLICATION = """
import copy, main

async def app(scope, receive, send):
    await main.app(copy.deepcopy(scope), receive, send)
"""


@every_class
@pytest.mark.parametrize("http1", ["fast", "hypercorn"])
def test_a_scope_can_be_copied_deeply(server: Launch, worker_class: str, http1: str, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/copies.py").write_text(APPLICATION)
    with server(MODULE_NAME="copies", WORKER_CLASS=worker_class, HTTP1=http1, WEB_CONCURRENCY=1) as one:
        assert one.serving().get()["http"] == "1.1"
        host, port = one.address
        with connect(f"ws://{host}:{port}/") as websocket:
            websocket.send("a")
            assert websocket.recv() == "echo a"
