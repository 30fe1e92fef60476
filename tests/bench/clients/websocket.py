"""Sends WebSocket messages and waits for each echo, on several connections: HOST PORT SECONDS SIZE CONNECTIONS."""

from __future__ import annotations

import selectors
import socket
import sys
import time
from collections import Counter
from dataclasses import dataclass

from tests.bench.clients import report

UPGRADE = (
    b"GET /echo HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@dataclass
class Connection:
    """One connection, and how many bytes of the echo have come."""

    sock: socket.socket
    received: int = 0


def opened(address: tuple[str, int]) -> Connection:
    """Return a connection that has been upgraded. Raises ConnectionError if the server does not."""
    sock = socket.create_connection(address, timeout=10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(UPGRADE)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += (data := sock.recv(1))
        if not data:
            break
    if not answer.startswith(b"HTTP/1.1 101"):
        raise ConnectionError(f"no upgrade: {answer[:40]!r}")
    return Connection(sock)


def main(host: str, port: str, seconds: str, size: str, connections: str) -> None:
    text = b"x" * int(size)
    assert len(text) < 126, "a longer message has another head"
    message = bytes([0x81, 0x80 | len(text)]) + bytes(4) + text  # a mask of zeros changes nothing
    echo = len(text) + 2
    selector, counts = selectors.DefaultSelector(), Counter[str]()
    for _ in range(int(connections)):
        one = opened((host, int(port)))
        selector.register(one.sock, selectors.EVENT_READ, one)
        one.sock.sendall(message)
    began = time.monotonic()
    while time.monotonic() < began + float(seconds):
        for key, _ in selector.select(1):
            one = key.data
            data = one.sock.recv(4096)
            if not data:
                counts["failed"] += 1
                selector.unregister(one.sock)
                continue
            one.received += len(data)
            if one.received == echo:
                counts["requests"] += 1
                one.received = 0
                one.sock.sendall(message)
    report(counts, began)


if __name__ == "__main__":
    main(*sys.argv[1:])
