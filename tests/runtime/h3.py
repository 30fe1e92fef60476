"""A small HTTP/3 client on aioquic: connections that count what they send and what is answered."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, QuicEvent


class Client(QuicConnectionProtocol):
    """One HTTP/3 connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.answers: dict[int, tuple[asyncio.Future[tuple[int, bytes]], list[Any]]] = {}
        self.terminated: asyncio.Future[ConnectionTerminated] = asyncio.get_running_loop().create_future()

    async def get(self, path: str = "/") -> tuple[int, bytes]:
        """Return status and body of `GET path`; raises ConnectionError when the connection ends before."""
        stream = self._quic.get_next_available_stream_id()
        headers = [
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"localhost"),
            (b":path", path.encode()),
        ]
        self.http.send_headers(stream, headers, end_stream=True)
        future: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self.answers[stream] = (future, [0, b""])
        self.transmit()
        return await asyncio.wait_for(future, 20)

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ConnectionTerminated):
            if not self.terminated.done():
                self.terminated.set_result(event)
            for future, _ in self.answers.values():
                if not future.done():
                    future.set_exception(ConnectionError(event.reason_phrase or str(event.error_code)))
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
