"""The event loop of a worker keeps what is made on the worker's own sockets, and nothing of the application's."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypercorn_image.worker.loop import loop_class

HOST = "127.0.0.1"


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> Iterator[Any]:
    made = loop_class(request.param)()
    yield made
    made.close()


def test_what_the_application_opens_is_not_kept(loop: Any) -> None:
    async def open_and_close() -> None:
        client, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=(HOST, 9))
        server = await loop.create_server(asyncio.Protocol, sock=socket.create_server((HOST, 0)))
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert (loop.datagrams, loop.servers, loop.transports) == ([], [], set())
        for opened in (client, server, writer):
            opened.close()
        await asyncio.sleep(0)

    loop.run_until_complete(open_and_close())


def test_what_is_made_on_the_workers_sockets_is_kept(loop: Any) -> None:
    async def open_and_close() -> None:
        listening = socket.create_server((HOST, 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((HOST, 0))
        loop.ours = {listening.fileno(), udp.fileno()}
        server = await loop.create_server(asyncio.Protocol, sock=listening)
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=udp)
        assert (len(loop.datagrams), len(loop.servers)) == (1, 1)
        for opened in (transport, server):
            opened.close()
        await asyncio.sleep(0)

    loop.run_until_complete(open_and_close())


def test_the_number_of_a_closed_socket_is_the_applications(loop: Any) -> None:
    async def open_twice() -> None:
        ours = socket.create_server((HOST, 0))
        number = ours.fileno()
        loop.ours = {number}
        (await loop.create_server(asyncio.Protocol, sock=ours)).close()
        await asyncio.sleep(0)
        ours.close()
        theirs = socket.create_server((HOST, 0))
        assert theirs.fileno() == number
        server = await loop.create_server(asyncio.Protocol, sock=theirs)
        assert isinstance(server, asyncio.AbstractServer) or server.sockets
        assert len(loop.servers) == 1
        server.close()
        await asyncio.sleep(0)

    loop.run_until_complete(open_twice())
