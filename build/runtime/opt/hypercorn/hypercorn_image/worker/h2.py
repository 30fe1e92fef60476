"""HTTP/2's good-bye: no request is lost when a worker leaves (RFC 9113, 6.8).

Hypercorn resets with NO_ERROR what comes after its termination, which no client may send again: one request for each
busy connection (protocol/h2.py of 0.17.3 and 0.18.0). Here a connection is served until it has said good-bye:

- At a quiet moment, with nothing in progress, it says which request was the last one: in the same write as the end of
  the last answer, or at once. What the client sends meanwhile is never begun, and refused once the client has heard.
- Where there is no quiet moment, since the client goes on making requests, a first GOAWAY announces it and names no
  last request. Once the client has heard it, or has had the time to, the final one follows. Nothing is discarded.

A quiet moment is waited for because many clients give up what is in progress at any GOAWAY, and take anything that
follows one for an error (httpcore, http2.py; h2, connection.py). It can go when Hypercorn does the same.
"""

import time
from contextlib import suppress
from typing import Any, List, Optional, Set
from weakref import WeakSet

import h2.events
import h2.exceptions
import hypercorn.protocol
from h2.errors import ErrorCodes
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.h2 import H2Protocol
from hyperframe.frame import GoAwayFrame

from hypercorn_image.worker.untold import Untold

QUIET = 0.3  # seconds that a quiet moment is waited for, before a new request brings the announcement
HEARD = 0.4  # seconds that a client gets to hear a GOAWAY
_PING = b"good bye"
_NO_LAST_STREAM = 2**31 - 1


class Farewell:
    """The HTTP/2 connections of one worker; `leave` begins their good-bye."""

    def __init__(self) -> None:
        self.left_at: Optional[float] = None
        self.connections: "WeakSet[Any]" = WeakSet()

    def install(self) -> None:
        """Have Hypercorn make its HTTP/2 connections known here. One worker process has one."""
        farewell = self

        class Connection(_Connection):
            def __init__(self, app: Any, config: Any, context: Any, *args: Any) -> None:
                untold: Any = Untold(context)
                super().__init__(app, config, untold, *args)
                self.begin(farewell)

        setattr(hypercorn.protocol, "H2Protocol", Connection)  # noqa: B010 - it is not exported

    async def leave(self) -> None:
        """Say good-bye on every connection that is quiet; the others follow by themselves."""
        self.left_at = time.monotonic()
        for connection in list(self.connections):
            await connection.leave()


class _Connection(H2Protocol):
    """One HTTP/2 connection."""

    def begin(self, farewell: Farewell) -> None:
        self._farewell = farewell
        self._write, self.send = self.send, self._send_unless_unheard
        self._discarded: Set[int] = set()
        self._refused: Set[int] = set()
        self._last: Optional[int] = None  # the last request that is served, once that has been said
        self._announced = self._heard = False
        self._frames = b""  # to be sent after what h2 has to send
        farewell.connections.add(self)

    async def leave(self) -> None:
        """Say good-bye if nothing is in progress."""
        if not self.closed and self._is_quiet():
            await self._flush()

    def _is_quiet(self) -> bool:
        """Tell whether there were requests and none is in progress: one that was just opened may send its first."""
        return self.connection.highest_inbound_stream_id > 0 and not self.connection.open_inbound_streams

    @property
    def served_by(self) -> Any:
        """Hypercorn's object that serves this connection."""
        return getattr(self._write, "__self__", None)

    async def abandon(self, stream: int) -> bool:
        """Reset a stream whose client is silent; return whether others are left on the connection."""
        await self._let_go(stream)
        with suppress(h2.exceptions.ProtocolError):
            self.connection.reset_stream(stream, ErrorCodes.CANCEL)
        gone = self.streams.pop(stream, None)
        if gone is not None and self.streams:
            await self._flush()
            await gone.handle(StreamClosed(stream_id=stream))
        return bool(self.streams)

    async def _let_go(self, stream: int) -> None:
        """Have an application that waits for the client to read wait no more."""
        if stream in self.stream_buffers:
            await self.stream_buffers[stream].close()

    # ---- what is sent ------------------------------------------------------------------------------------------------

    async def _flush(self) -> None:
        """Send what there is; at a quiet moment after the worker has begun to leave, the good-bye with it."""
        if self._farewell.left_at is not None and self._last is None and self._is_quiet():
            self._say_last()
        data, self._frames = self.connection.data_to_send() + self._frames, b""
        if data:
            await self.send(RawData(data=data))

    def _say_last(self) -> None:
        self._last = self.connection.highest_inbound_stream_id
        self._go_away(self._last)

    def _go_away(self, last: int) -> None:
        # Not by h2's close_connection: after it nothing more could be sent. The ping's answer says that it was heard.
        self._heard = False
        self.connection.ping(_PING)
        self._frames += GoAwayFrame(0, last_stream_id=last, error_code=0).serialize()

    async def stream_send(self, event: Any) -> None:
        """Send what a stream says. Its end waits until its last bytes have been written: Hypercorn may close then."""
        if isinstance(event, StreamClosed):
            while not self.closed and getattr(self.stream_buffers.get(event.stream_id), "complete", False):
                await self.context.sleep(0.001)
        await super().stream_send(event)

    async def _send_unless_unheard(self, event: Any) -> None:
        """Pass on what Hypercorn's server is told. It closes what is idle: not before the client has heard good-bye."""
        if isinstance(event, Updated) and event.idle and self._farewell.left_at is not None:
            await self._wait_until_heard()
        await self._write(event)

    async def _wait_until_heard(self) -> None:
        limit = time.monotonic() + HEARD
        while self._last is not None and not self._heard and not self.closed and time.monotonic() < limit:
            await self.context.sleep(0.005)
        await self._refuse()

    async def _refuse(self) -> None:
        """Tell the client that what was discarded was never begun, once it has heard what the last request is.

        Not before: clients made with h2 take a frame after a GOAWAY for an error. They read no more once they have seen
        it, so a frame later than its answer finds none that minds.
        """
        for stream in sorted(self._discarded - self._refused):
            self._refused.add(stream)
            with suppress(h2.exceptions.ProtocolError):  # the client may have reset it
                self.connection.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
        await self._flush()

    # ---- what is received --------------------------------------------------------------------------------------------

    async def handle(self, event: Any) -> None:
        """Handle what comes from the client or the server; a close by the server says good-bye first."""
        if isinstance(event, Closed) and not self.closed and self._farewell.left_at is not None and self._last is None:
            self._say_last()
            await self._flush()
        await super().handle(event)
        if self.closed:
            # Hypercorn leaves an application waiting for a client that has gone (protocol/h2.py of 0.18.0, handle).
            for stream in list(self.stream_buffers):
                await self._let_go(stream)

    async def _handle_events(self, events: List[Any]) -> None:
        begun = {event.stream_id for event in events if isinstance(event, h2.events.RequestReceived)}
        await super()._handle_events([event for event in events if not self._keeps(event, begun)])
        if self._announced and self._last is None and self._heard_or_late():
            self._say_last()
            await self._flush()
        if self._last is not None and self._heard:
            await self._refuse()

    def _keeps(self, event: Any, begun: Set[int]) -> bool:
        """Act on an event that Hypercorn must not see; return whether it is one. `begun`: what begins with it."""
        stream: Optional[int] = getattr(event, "stream_id", None)
        if isinstance(event, h2.events.PingAckReceived) and event.ping_data == _PING:
            self._heard = True
        elif isinstance(event, h2.events.RequestReceived):
            assert stream is not None
            if self._last is not None and stream > self._last:
                self._discarded.add(stream)
            else:
                self._announce_if_busy()
        elif isinstance(event, h2.events.DataReceived) and stream not in {*self.streams, *begun, *self._discarded}:
            # Answered before its body was read, which Hypercorn does not expect (KeyError).
            self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            return True
        return stream in self._discarded

    def _announce_if_busy(self) -> None:
        left_at = self._farewell.left_at
        if left_at is not None and not self._announced and time.monotonic() > left_at + QUIET:
            self._announced, self._announced_at = True, time.monotonic()
            self._go_away(_NO_LAST_STREAM)

    def _heard_or_late(self) -> bool:
        return self._heard or time.monotonic() > self._announced_at + HEARD
