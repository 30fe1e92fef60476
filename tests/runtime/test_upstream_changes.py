"""Upstream changes under the server: it serves and stops all the same, and says, once, what is worse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.runtime.launching import Launch

RENAMED_CLASS = """
import hypercorn.protocol
import hypercorn.protocol.h2
del hypercorn.protocol.H2Protocol
"""
OTHER_SOCKETS = """
import asyncio, os, socket
start_server = asyncio.start_server
asyncio.start_server = lambda *args, sock, **kwargs: start_server(
    *args, sock=socket.socket(fileno=os.dup(sock.fileno())), **kwargs)
"""
OTHER_VERSION = """
import os.path
is_dir = os.path.isdir
os.path.isdir = lambda path: "hypercorn-0" not in str(path) and is_dir(path)
"""
NO_FINALIZERS = """
import atexit
del atexit._clear
"""


@pytest.mark.parametrize(
    ("change", "name", "environ"),
    [
        pytest.param(RENAMED_CLASS, "hypercorn-h2-connection", {}, id="a class"),
        pytest.param(OTHER_VERSION, "hypercorn-http1", {}, id="a version"),
        pytest.param(NO_FINALIZERS, "python-finalizers", {"PRELOAD_APP": "true"}, id="a function"),
        pytest.param(OTHER_SOCKETS, "hypercorn-serves-on-its-sockets", {}, id="a way to serve"),
    ],
)
def test_what_upstream_changes_is_said_once_and_the_server_serves_and_stops(
    server: Launch, tmp_path: Path, change: str, name: str, environ: dict[str, Any]
) -> None:
    directory = tmp_path / "app"
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(change)
    with server(WEB_CONCURRENCY=1, **environ) as one:
        one.serving()
        assert one.get()["scheme"] == "http"
        assert one.stop() == 0
        assert one.log.count(f"is not as expected ({name}): ") == 1, one.log
        assert one.log.count("is not as expected") == 1, one.log
        assert "Traceback" not in one.log
