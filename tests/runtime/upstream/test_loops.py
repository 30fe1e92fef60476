"""Of asyncio, uvloop and trio."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import uvloop
from hypercorn_image import upstream
from hypercorn_image.listen import draining

from tests.runtime.upstream.serving import HOST, LIMIT, certificate, opened


@pytest.fixture
def loop() -> Iterator[Any]:
    made = asyncio.SelectorEventLoop()
    yield made
    made.close()


async def waiting(sock: socket.socket) -> None:
    """Wait until a connection waits to be accepted."""
    while not draining.waiting([sock.fileno()]):
        await asyncio.sleep(0.001)


@pytest.mark.holds("asyncio-accepts-by-a-reader")
def test_asyncio_accepts_by_a_reader_of_the_listening_socket(loop: Any) -> None:
    made: list[asyncio.Protocol] = []

    async def use() -> None:
        with opened() as sock:
            server = await loop.create_server(lambda: made.append(asyncio.Protocol()) or made[-1], sock=sock)
            first = socket.create_connection(sock.getsockname())
            while not made:
                await asyncio.sleep(0.001)
            assert upstream.accept_no_more(loop, server)
            second = socket.create_connection(sock.getsockname())
            await waiting(sock)
            await asyncio.sleep(0.01)
            assert len(made) == 1, "it accepts no more"
            server.close()
            first.close()
            second.close()

    loop.run_until_complete(use())


@pytest.mark.holds("asyncio-server-of-a-replaced-socket")
def test_asyncio_closes_a_server_whose_socket_was_replaced(loop: Any) -> None:
    async def use() -> None:
        with opened() as sock:
            address = sock.getsockname()
            server = await loop.create_server(partial(asyncio.StreamReaderProtocol, asyncio.StreamReader()), sock=sock)
            client = socket.create_connection(address)
            await asyncio.sleep(0.01)
            upstream.accept_no_more(loop, server)
            draining.replace([sock.fileno()])
            server.close()
            await asyncio.sleep(0)
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.recv(1)  # who was accepted stays
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)
            client.close()

    loop.run_until_complete(use())


def made_before_the_handshake(loop: Any, files: dict[str, str]) -> None:
    made: list[asyncio.Protocol] = []
    connected: list[Any] = []

    class Noted(asyncio.Protocol):
        def __init__(self) -> None:
            made.append(self)

        def connection_made(self, transport: Any) -> None:
            connected.append(transport)

    async def use() -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(files["certfile"], files["keyfile"])
        with opened() as sock:
            server = await loop.create_server(Noted, sock=sock, ssl=context)
            with socket.create_connection((HOST, sock.getsockname()[1])):
                while not made:
                    await asyncio.sleep(0.001)
                assert not connected
            server.close()
            await asyncio.sleep(0.01)

    loop.run_until_complete(asyncio.wait_for(use(), LIMIT))


@pytest.mark.holds("asyncio-makes-the-protocol-at-accept")
def test_asyncio_makes_the_protocol_before_the_tls_handshake(loop: Any, tmp_path: Path) -> None:
    made_before_the_handshake(loop, certificate(tmp_path))


@pytest.mark.holds("uvloop-makes-the-protocol-at-accept")
def test_uvloop_makes_the_protocol_before_the_tls_handshake(tmp_path: Path) -> None:
    loop = uvloop.new_event_loop()
    made_before_the_handshake(loop, certificate(tmp_path))
    loop.close()


@pytest.mark.holds("uvloop-closes-at-once")
def test_uvloop_closes_a_server_at_once_and_keeps_whom_it_has_accepted() -> None:
    loop = uvloop.new_event_loop()

    async def use() -> None:
        with opened() as sock:
            address = sock.getsockname()
            made: list[Any] = []

            class Echo(asyncio.Protocol):
                def connection_made(self, transport: Any) -> None:
                    made.append(transport)

                def data_received(self, data: bytes) -> None:
                    made[0].write(data)

            server = await loop.create_server(Echo, sock=sock)
            reader, writer = await asyncio.open_connection(*address)
            while not made:
                await asyncio.sleep(0.001)
            server.close()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)
            writer.write(b"hello")
            assert await asyncio.wait_for(reader.readexactly(5), LIMIT) == b"hello"
            writer.close()
            await asyncio.sleep(0.01)

    loop.run_until_complete(use())
    loop.close()


@pytest.mark.holds("trio-accepts-on-the-descriptor")
def test_trio_goes_on_accepting_nobody_where_a_descriptor_was_replaced() -> None:
    served: list[Any] = []

    async def serve(stream: trio.SocketStream) -> None:
        served.append(stream)

    async def use() -> None:
        # `other` is another worker's, which keeps the socket open.
        with opened() as sock, socket.socket(fileno=os.dup(sock.fileno())) as other:
            listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(sock))]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.serve_listeners, serve, listeners)
                with socket.create_connection(other.getsockname()), trio.fail_after(LIMIT):
                    while not served:
                        await trio.sleep(0.001)
                draining.replace([sock.fileno()])
                with socket.create_connection(other.getsockname()):
                    await trio.sleep(0.05)
                    assert len(served) == 1
                    assert draining.waiting([other.fileno()])
                nursery.cancel_scope.cancel()

    trio.run(use)
