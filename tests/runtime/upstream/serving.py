"""Plain Hypercorn in this process, on the loop that a worker has, for one test at a time."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypercorn.asyncio
from hypercorn.config import Config
from hypercorn_image.worker.loop import loop_class

HOST = "127.0.0.1"
LIMIT = 20


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request with 200."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


@contextmanager
def opened(kind: socket.SocketKind = socket.SOCK_STREAM) -> Iterator[socket.socket]:
    """Open a socket as a worker's are: bound, and listening."""
    sock = socket.socket(socket.AF_INET, kind)
    sock.bind((HOST, 0))
    if kind == socket.SOCK_STREAM:
        sock.listen()
    sock.setblocking(False)
    yield sock
    if sock.fileno() != -1:
        sock.close()


def configuration(*sockets: socket.socket, **options: Any) -> Config:
    """Return a configuration that serves `sockets`, of which it takes the descriptors."""
    config = Config.from_mapping(graceful_timeout=0.1, errorlog=None, **options)
    names = {kind: [f"fd://{s.detach()}" for s in sockets if s.type == kind] for kind in {s.type for s in sockets}}
    config.bind = names.get(socket.SOCK_STREAM, [])
    config.quic_bind = names.get(socket.SOCK_DGRAM, [])
    return config


def serve(worker_class: str, config: Config, use: Callable[[Any], Awaitable[None]], application: Any = hello) -> None:
    """Serve, on the loop of `worker_class`; `use` is run with the loop while Hypercorn serves."""
    loop = loop_class(worker_class)()
    loop.ours = {int(bind[5:]) for bind in config.bind + config.quic_bind}
    serving = hypercorn.asyncio.serve(application, config, shutdown_trigger=lambda: use(loop), mode="asgi")
    try:
        loop.run_until_complete(asyncio.wait_for(serving, LIMIT))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def serve_quic(worker_class: str, directory: Path, use: Callable[[Any, tuple[str, int]], Awaitable[None]]) -> None:
    """Serve over TLS and QUIC; `use` is run with the loop and the address of the UDP socket."""
    with opened(socket.SOCK_DGRAM) as udp, opened() as tcp:
        address = udp.getsockname()
        serve(worker_class, configuration(tcp, udp, **certificate(directory)), lambda loop: use(loop, address))


async def get(port: int) -> bytes:
    """Return the answer to one request."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), LIMIT)
    writer.close()
    return answer


def certificate(directory: Path) -> dict[str, str]:
    """Return options for a certificate made for this test."""
    files = {"certfile": str(directory / "cert.pem"), "keyfile": str(directory / "key.pem")}
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", files["keyfile"], "-out", files["certfile"]], check=True, capture_output=True)
    return files
