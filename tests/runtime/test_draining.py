"""Closing sockets without losing anything, one step at a time; that nothing is lost in the end is test_launcher's."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from aioquic.buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import pull_quic_header
from hypercorn.config import Config
from hypercorn_image.errors import StartError
from hypercorn_image.listen import draining
from hypercorn_image.listen.sockets import Listeners

from tests.runtime.certificates import Authority
from tests.runtime.server import connect, wait_for


def test_a_listening_socket_that_refuses_serves_whom_it_has() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, connect(listening.getsockname()) as before:
        draining.refuse_new([listening])
        with pytest.raises(ConnectionRefusedError):
            connect(listening.getsockname())
        before.sendall(b"hello")
        assert listening.accept()[0].recv(5) == b"hello"
        assert not draining.half_open([listening])


def test_a_listening_socket_that_was_given_to_the_server_outlives_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        config = Config()
        config.bind = [f"fd://{given.fileno()}"]
        listeners = Listeners(config)
        listeners.open()
        listeners.refuse_new()
        listeners.close()
        connect(given.getsockname()).close()


def test_draining_waits_for_the_queue() -> None:
    async def drained() -> tuple[bool, bool]:
        with socket.create_server(("127.0.0.1", 0)) as listening, connect(listening.getsockname()):
            task = asyncio.create_task(draining.emptied([listening.fileno()], 30, asyncio.sleep))
            await asyncio.sleep(0.05)
            before = task.done()
            listening.accept()[0].close()
            await task
            return before, task.done()

    assert asyncio.run(drained()) == (False, True)


@pytest.fixture
def closing() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A UDP socket that lets nobody new in, and one that sends to it."""
    with socket.socket(type=socket.SOCK_DGRAM) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        client.connect(server.getsockname())
        draining.refuse_new_quic([server.fileno()])
        yield server, client


def passes(closing: tuple[socket.socket, socket.socket], data: bytes) -> bool:
    server, client = closing
    client.send(data)
    try:
        return server.recv(2000) == data  # over loopback it is there as soon as it is sent
    except BlockingIOError:
        return False


def test_a_quic_connection_that_has_begun_is_let_in_and_a_new_one_is_not(
    closing: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    client = QuicConnection(
        configuration=QuicConfiguration(is_client=True, alpn_protocols=["h3"], verify_mode=ssl.CERT_NONE)
    )
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3"])
    configuration.load_cert_chain(*Authority(tmp_path).issue())
    here, there = ("127.0.0.1", 1), ("127.0.0.1", 2)
    client.connect(there, now=0)
    first = [data for data, _ in client.datagrams_to_send(now=0)]
    assert not any(passes(closing, data) for data in first)
    known = pull_quic_header(Buffer(data=first[0]), host_cid_length=8).destination_cid
    server = QuicConnection(configuration=configuration, original_destination_connection_id=known)
    for data in first:
        server.receive_datagram(data, here, now=0.1)
    for data, _ in server.datagrams_to_send(now=0.1):
        client.receive_datagram(data, there, now=0.2)
    second = [data for data, _ in client.datagrams_to_send(now=0.2)]
    assert second[0][0] & 0xF0 == 0xC0, "it begins with an Initial packet too"
    assert all(passes(closing, data) for data in second)


@pytest.mark.parametrize("size", [8, 18, 20])
@pytest.mark.parametrize("prefix", [0x4000, 0x80000000], ids=["two bytes", "four bytes"])
@pytest.mark.parametrize("head", [b"\xc3\0\0\0\1", b"\xd3\x6b\x33\x43\xcf"], ids=["version 1", "version 2"])
def test_initial_packets_of_every_form(
    closing: tuple[socket.socket, socket.socket], size: int, prefix: int, head: bytes
) -> None:
    def initial(payload: bytes) -> bytes:
        identifiers = bytes([size]) + b"d" * size + bytes([8]) + b"s" * 8
        length = (prefix | len(payload)).to_bytes(2 if prefix == 0x4000 else 4, "big")
        return head + identifiers + b"\0" + length + payload

    assert not passes(closing, initial(b"x" * 1150))
    assert not passes(closing, initial(b"x" * 500) + b"\0" * 650), "padded behind the packet"
    assert passes(closing, initial(b"x" * 60) + b"\xe0" + b"h" * 1050), "a Handshake packet follows"


def test_a_packet_of_version_1_that_looks_like_an_initial_one_of_version_2_is_kept(
    closing: tuple[socket.socket, socket.socket],
) -> None:
    assert passes(closing, b"\xd3\0\0\0\1" + b"\x08" + b"d" * 1100), "0-RTT"


def test_a_udp_port_that_somebody_shares_with_everybody_is_taken() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        bind = f"127.0.0.1:{other.getsockname()[1]}"
        config = Config.from_mapping(bind=[], certfile="c", keyfile="k", quic_bind=[bind])
        with pytest.raises(StartError, match="Address already in use"):
            Listeners(config).open_quic()


def test_the_sockets_of_two_workers_share_a_udp_port() -> None:
    listeners = Listeners(Config.from_mapping(bind=[], certfile="c", keyfile="k", quic_bind=["127.0.0.1:0"]))
    one, two = (listeners.open_quic(slot)[0] for slot in range(2))
    with one, two:
        assert one.getsockname() == two.getsockname()


def test_the_event_loop_goes_on_while_the_kernel_lists_its_connections() -> None:
    """It takes 40 ms with 4,500 of them; here, until the loop has run ten times."""
    turns: list[float] = []

    def half_open() -> bool:
        wait_for(lambda: len(turns) > 10, "turn of the event loop")
        return False

    async def turn(seconds: float) -> None:
        turns.append(seconds)
        await asyncio.sleep(seconds)

    asyncio.run(draining.arrived(half_open, 5, turn))
    assert len(turns) > 10


def test_what_is_no_quic_at_all_does_no_harm(closing: tuple[socket.socket, socket.socket]) -> None:
    for data in (b"\xc0", b"\xc3\0\0\0\1\xff", b"\xc3\0\0\0\1\x08" + b"d" * 8):
        assert not passes(closing, data)
    assert passes(closing, b"\x40" + b"x" * 30)
