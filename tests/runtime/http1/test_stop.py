"""A stop waits until the client has the whole answer, whoever reads HTTP/1.1."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.runtime.launching import every_class
from tests.runtime.server import LIMIT, RUNTIME, launch, response

SIZE = 50_000  # bytes: less than an event loop buffers before it has the application wait
APPLICATION = f"""
async def app(scope, receive, send):
    await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"{SIZE}")]}})
    await send({{"type": "http.response.body", "body": b"x" * {SIZE}}})
"""
SMALL_BUFFERS = """
import os, socket, sys
given = socket.create_server(("127.0.0.1", 0))
given.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
os.set_inheritable(given.fileno(), True)
os.environ["BIND"] = f"fd://{given.fileno()}"
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@every_class
@pytest.mark.parametrize("http1", ["fast", "hypercorn"])
def test_a_client_that_reads_slowly_gets_its_whole_answer(
    python: str, worker_class: str, http1: str, tmp_path: Path
) -> None:
    (tmp_path / "large.py").write_text(APPLICATION)
    command = [python, "-c", SMALL_BUFFERS, str(RUNTIME / "opt/hypercorn/serve.py")]
    environ = {"MODULE_NAME": "large", "WORKER_CLASS": worker_class, "HTTP1": http1}
    with launch(python, tmp_path, command=command, environ=environ) as one, socket.socket() as client:
        client.settimeout(LIMIT)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.connect(one.serving().address)
        client.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        client.recv(1, socket.MSG_PEEK)
        one.kill(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            one.process.wait(1.5)  # the time to do it wrong: nothing is waited for that must come
        status, _, body = response(client)
        assert (status, len(body)) == (200, SIZE)
        assert one.wait() == 0
