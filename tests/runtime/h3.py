"""A small HTTP/3 client on aioquic: connections that count what they send and what is answered."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.buffer import Buffer, BufferReadError
from aioquic.h3.connection import H3_ALPN, ErrorCode, FrameType, H3Connection, StreamType
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamDataReceived, StreamReset

from tests.runtime.server import LIMIT


class Rejected(ConnectionError):
    """The request was never begun (H3_REQUEST_REJECTED, or behind what a GOAWAY names): it may be sent again."""


CONTROL = 3
"""The server's first stream, on which it says GOAWAY; aioquic takes no notice of it."""


def goaways(control: bytes) -> list[int]:
    """Return the request that each GOAWAY in a control stream names as the first not served."""
    buffer, found = Buffer(data=control), []
    with suppress(BufferReadError):
        assert buffer.pull_uint_var() == StreamType.CONTROL
        while not buffer.eof():
            kind, length = buffer.pull_uint_var(), buffer.pull_uint_var()
            data = buffer.pull_bytes(length)
            if kind == FrameType.GOAWAY:
                found.append(Buffer(data=data).pull_uint_var())
    return found


class Client(QuicConnectionProtocol):
    """One HTTP/3 connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self._control = b""
        self.answers: dict[int, tuple[asyncio.Future[tuple[int, bytes]], list[Any]]] = {}
        self.terminated: asyncio.Future[ConnectionTerminated] = asyncio.get_running_loop().create_future()

    async def get(self, path: str = "/", more: Iterable[tuple[str, str]] = (), body: bytes = b"") -> tuple[int, bytes]:
        """Return status and body of `GET path`, or of a POST where there is a `body`, with `more` headers.

        Raises Rejected, or ConnectionError when the connection ends before.
        """
        stream = self._quic.get_next_available_stream_id()
        headers = [
            (b":method", b"POST" if body else b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"localhost"),
            (b":path", path.encode()),
            *((name.encode(), value.encode()) for name, value in more),
        ]
        self.http.send_headers(stream, headers, end_stream=not body)
        if body:
            self.http.send_data(stream, body, end_stream=True)
        future: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self.answers[stream] = (future, [0, b""])
        self.transmit()
        return await asyncio.wait_for(future, LIMIT)

    @property
    def first_unserved(self) -> list[int]:
        """The request that each GOAWAY named as the first not served."""
        return goaways(self._control)

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived) and event.stream_id == CONTROL:
            self._control += event.data
        if isinstance(event, ConnectionTerminated):
            if not self.terminated.done():
                self.terminated.set_result(event)
            for stream, (future, _) in self.answers.items():
                if not future.done():
                    unserved = any(stream >= first for first in self.first_unserved)
                    future.set_exception((Rejected if unserved else ConnectionError)(str(event.error_code)))
        if isinstance(event, StreamReset) and event.stream_id in self.answers:
            rejected = event.error_code == ErrorCode.H3_REQUEST_REJECTED
            self.answers[event.stream_id][0].set_exception((Rejected if rejected else ConnectionError)(str(event)))
        for found in self.http.handle_event(event):
            if not isinstance(found, HeadersReceived | DataReceived):
                continue
            future, answer = self.answers[found.stream_id]
            if isinstance(found, HeadersReceived):
                answer[0] = int(dict(found.headers)[b":status"])
            else:
                answer[1] += found.data
            if found.stream_ended and not future.done():
                future.set_result((answer[0], answer[1]))


@asynccontextmanager
async def connected(address: tuple[str, int]) -> AsyncIterator[Client]:
    """Open one connection."""
    configuration = QuicConfiguration(alpn_protocols=H3_ALPN, is_client=True, verify_mode=ssl.CERT_NONE)
    async with connect(*address, configuration=configuration, create_protocol=Client) as client:
        assert isinstance(client, Client)
        yield client
