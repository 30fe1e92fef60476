"""A WebSocket whose client is silent, or whose application is slow, holds up nobody."""

from __future__ import annotations

import re
import signal
import socket
from pathlib import Path

import pytest

from tests.runtime.h2ws import Connection
from tests.runtime.launching import Launch, every_class
from tests.runtime.server import Server, connect

UPGRADE = (
    b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
# Long enough for a stop that waits for it to run into the limit of `Server.wait`.
NEVER = "600"


def opened(one: Server, kind: str, path: Path) -> socket.socket:
    if kind == "IPv6":
        found = re.search(r"\[::1\]:(\d+)", one.log)
        assert found
        return socket.create_connection(("::1", int(found[1])))
    return connect(str(path) if kind == "unix" else one.address)


@every_class
@pytest.mark.parametrize("kind", ["IPv4", "IPv6", "unix"])
def test_a_client_that_does_not_answer_its_close_frame_holds_up_no_stop(
    server: Launch, worker_class: str, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "socket"
    binds = {"IPv4": {}, "IPv6": {"HOST": "::1"}, "unix": {"BIND": f"unix:{path}"}}[kind]
    with server(WORKER_CLASS=worker_class, WEB_CONCURRENCY=1, GRACEFUL_TIMEOUT=NEVER, **binds) as one:
        one.serving()
        with opened(one, kind, path) as sock:
            sock.sendall(UPGRADE)
            one.wait_events("accepted", 1)
            assert one.stop() == 0
        assert len(one.events("disconnected")) == len(one.events("shutdown")) == 1


@every_class
def test_a_client_that_does_not_read_holds_up_no_stop(server: Launch, worker_class: str) -> None:
    with server(WORKER_CLASS=worker_class, WEB_CONCURRENCY=1, GRACEFUL_TIMEOUT=NEVER, APP_MODULE="pushing:app") as one:
        one.serving()
        with connect(one.address) as sock:
            sock.sendall(UPGRADE)
            one.wait_events("accepted", 1)
            one.wait_events("stuck", 1)
            assert one.stop() == 0
        assert len(one.events("shutdown")) == 1


@every_class
def test_an_application_that_takes_its_time_to_clean_up_does_not_cost_the_others_their_connection(
    server: Launch, worker_class: str
) -> None:
    with server(WORKER_CLASS=worker_class, WEB_CONCURRENCY=1, CLEANUP_SECONDS="1.5", APP_MODULE="pushing:app") as one:
        one.serving()
        with connect(one.address) as sock:
            client = Connection(sock)
            client.open_websocket()
            slow = client.get("/slow?seconds=2.5")
            client.run_until(lambda: bool(one.events("slow") and one.events("accepted")))
            one.kill(signal.SIGTERM)
            client.run_until(lambda: client.ended or slow in client.whole)
            assert client.closed_with == 1012
            assert slow in client.whole
        assert one.wait() == 0
        assert one.events("cleaned")
