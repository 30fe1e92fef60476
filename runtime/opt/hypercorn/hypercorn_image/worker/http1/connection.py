# SPDX-License-Identifier: MIT
"""The plain HTTP/1.1 connections of one worker: reading, keep-alive, back-pressure, hand-over to Hypercorn."""

import asyncio
import contextlib
import time
from typing import Any, Callable, Dict, Optional, Set, Tuple

from hypercorn.utils import parse_socket_addr

from hypercorn_image.worker.http1.answer import lines_of
from hypercorn_image.worker.http1.head import Head, Headers, read_head
from hypercorn_image.worker.http1.request import Request

_WAITING = 2**16  # bytes of further requests that are read while one is in progress
_END_LATER = 0.02  # seconds
_LINGER = 1.0  # seconds that the rest of a body may take after its answer


class Http1:
    """What the HTTP/1.1 connections of one worker share.

    `application` is an ASGI 3 callable, `state` what its lifespan left, `config` Hypercorn's.
    """

    def __init__(self, application: Any, config: Any, state: Dict[str, Any], loop: asyncio.AbstractEventLoop) -> None:
        self.application, self.config, self.state, self.loop = application, config, state, loop
        self.terminated = False
        self.connections: Set["Connection"] = set()
        self._second = 0
        self._common: Tuple[Headers, bytes] = ([], b"")

    def terminate(self) -> None:
        """Close the idle connections now, the others after their answer."""
        self.terminated = True
        for connection in list(self.connections):
            if connection.request is None:
                connection.close()

    def common_headers(self) -> Tuple[Headers, bytes]:
        """Return the headers of every answer, and the same as bytes. Made once a second."""
        now = int(time.time())
        if now != self._second:
            headers = self.config.response_headers("h11")
            self._second = now
            self._common = (headers, lines_of(headers))
        return self._common


class Connection(asyncio.Protocol):
    """One connection, until it ends or is handed over. `request` is the one in progress.

    `hand_over` passes a transport and its data on to Hypercorn's protocol, and returns that.
    """

    def __init__(self, http1: Http1, hand_over: Callable[[Any, bytes], Any]) -> None:
        self.http1, self.loop = http1, http1.loop
        self.request: Optional[Request] = None
        self._hand_over = hand_over
        self._buffer = b""  # data of requests that have not begun
        self._eof = self._lost = self._reading_paused = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._timer: Optional[asyncio.TimerHandle] = None

    def connection_made(self, transport: Any) -> None:
        """Begin, or hand the connection over at once if TLS has agreed on HTTP/2."""
        self.transport = transport
        ssl_object = transport.get_extra_info("ssl_object")
        self.tls = ssl_object is not None
        if self.tls and ssl_object.selected_alpn_protocol() == "h2":
            self._give_away()
            return
        family = transport.get_extra_info("socket").family
        self.client = parse_socket_addr(family, transport.get_extra_info("peername"))
        self.server = parse_socket_addr(family, transport.get_extra_info("sockname"))
        self.http1.connections.add(self)
        self._become_idle()

    def data_received(self, data: bytes) -> None:
        """Read the body, or the next head, which waits while an answer is in progress."""
        request = self.request
        if request is not None and request.missing:
            data = request.take_body(data)
            if request.answered and not request.missing:
                self.finish(request, request.reusable)
            if not data:
                return
        self._buffer = self._buffer + data if self._buffer else data
        if self.request is None:
            self._begin()
        elif len(self._buffer) > _WAITING:
            self.pause_reading()

    def eof_received(self) -> bool:
        """The client sends no more. Without TLS it may go on reading."""
        self._eof = True
        if self.request is not None:
            self._end_of_input(self.request)
        elif self._buffer:
            self._give_away()
        else:
            self.close()
        return not self.tls

    def connection_lost(self, exc: Optional[Exception]) -> None:  # noqa: ARG002
        """The connection has ended."""
        self._lost = self._eof = True
        self.http1.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self.resume_writing()
        if self.request is not None:
            self.request.disconnect()

    def pause_writing(self) -> None:
        """The client does not read what is written: `drain` waits."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The client has read enough."""
        self._writable.set()

    def _begin(self) -> None:
        """Begin the request in the buffer, if its head is complete."""
        data = self._buffer
        end = data.find(b"\r\n\r\n")
        if end < 0:
            unusual = data[0] < 0x21 or b"\n\n" in data or b"\n\r\n" in data
            if unusual or self._eof or len(data) > self.http1.config.h11_max_incomplete_size:
                self._give_away()
            return
        head = read_head(data[: end + 2])
        if head is None or not self._is_served(head):
            self._give_away()
            return
        self._buffer = data[end + 4 :]
        request = self.request = Request(self, head, data[: end + 4])
        if request.missing and self._buffer:
            self._buffer = request.take_body(self._buffer)
        request.start()
        if self._eof:
            self._end_of_input(request)

    def _is_served(self, head: Head) -> bool:
        """Tell whether SERVER_NAMES has the request's host. Hypercorn answers all others."""
        names = self.http1.config.server_names
        return not names or dict(head.headers)[b"host"].decode("latin-1") in names

    def _give_away(self) -> None:
        """Hand the connection over to Hypercorn, with the data that was not used."""
        self.http1.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self.resume_reading()
        inner = self._hand_over(self.transport, self._buffer)
        if self._eof:  # Hypercorn does not answer 400 if data and their end come together
            self.loop.call_later(_END_LATER, inner.eof_received)

    def _end_of_input(self, request: Request) -> None:
        if request.answered:
            self.finish(request, False)
        elif request.missing:
            request.break_off()
        elif not self._buffer:
            request.disconnect()

    def pause_reading(self) -> None:
        """Read no more until `resume_reading`."""
        if not self._reading_paused and not self._lost:
            self._reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading."""
        if self._reading_paused and not self._lost:
            self._reading_paused = False
            self.transport.resume_reading()

    def write(self, data: bytes) -> None:
        """Write, unless the connection has been lost."""
        if data and not self._lost and not self.transport.is_closing():
            self.transport.write(data)

    async def drain(self) -> None:
        """Wait until the client has read enough of what was written."""
        await self._writable.wait()

    def finish(self, request: Request, reusable: bool) -> None:
        """Go on with the next request after an answer has ended, or close.

        If the body is still arriving, its rest is read and dropped first, for a while: a close would reset the
        connection, and the client might lose the answer (RFC 9112, 9.6).
        """
        if self.request is not request:
            return
        if reusable and request.missing and not self._eof:
            self.resume_reading()
            self.loop.call_later(_LINGER, self.finish, request, False)
            return
        self.request = None
        if not reusable or self.http1.terminated or self._lost or (self._eof and not self._buffer):
            self.close()
            return
        self.resume_reading()
        self._become_idle()
        if self._buffer:
            self._begin()

    def close(self) -> None:
        """Close, once everything has been sent."""
        if self._lost or self.transport.is_closing():
            return
        if not self.tls:
            with contextlib.suppress(OSError, RuntimeError):  # the client has gone
                self.transport.write_eof()
        self.transport.close()

    def _become_idle(self) -> None:
        # One timer for each connection, not for each request: making it would cost more than reading the request.
        self._idle_since = self.loop.time()
        if self._timer is None and self.http1.config.keep_alive_timeout is not None:
            self._timer = self.loop.call_later(self.http1.config.keep_alive_timeout, self._look)

    def _look(self) -> None:
        self._timer = None
        if self.request is not None or self._lost:
            return
        left = self._idle_since + self.http1.config.keep_alive_timeout - self.loop.time()
        if left > 0.001:
            self._timer = self.loop.call_later(left, self._look)
        else:
            self.close()
