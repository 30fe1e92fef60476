# SPDX-License-Identifier: MIT
"""HTTP/2's good-bye: no request is lost when a worker leaves (RFC 9113, 6.8).

Hypercorn resets with NO_ERROR what comes after its termination, which no client may send again: one request for each
busy connection (protocol/h2.py of 0.17.3 and 0.18.0). Here a connection is served until it has said good-bye:

- A first GOAWAY announces it and names no last request: at a quiet moment, with nothing in progress, in the same write
  as the end of the last answer, or at once. Where there is no quiet moment it comes with the next request. Once the
  client has heard it, or has had the time to, the final one follows. Nothing that was sent until then is discarded.
- A client that is made with h2, as httpx is, cannot read on after a GOAWAY (python-hyper/h2 issue 1181), and httpcore
  loses even answers that it has read already (its pull request 1054). It hears the final one only, at a quiet moment.
  Where it makes several requests at once, new ones are not begun, those in progress are answered, and pings ask whether
  the answers have been read. What was not begun the client may send again.

It can go when Hypercorn does the same; the last part when h2 lets its clients read on.
"""

import time
from contextlib import suppress
from typing import Any, List, Optional, Set
from weakref import WeakSet

import h2.events
import h2.exceptions
import hypercorn.protocol
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.events import StreamClosed
from hyperframe.frame import GoAwayFrame

from hypercorn_image import upstream
from hypercorn_image.worker.h2_sending import Gathering
from hypercorn_image.worker.untold import Untold

QUIET = 0.3  # seconds that a quiet moment is waited for, before a new request brings the announcement
HEARD = 3.0  # seconds that a client gets to hear a GOAWAY or a ping, on a busy machine too
CLOSE = 0.5  # seconds that a client gets to close when it has heard and read all
HOLD = 10.0  # seconds that requests wait for the next end of one in progress, or for the client's next sign of life
TURN = 0.05  # seconds between pings that only give a client something to read
_PING, _TURN = b"good bye", b"any turn"
_NO_LAST_STREAM = 2**31 - 1
# What a client made with h2 says at first, although these are the defaults; no other client that we know says both.
_H2_DEFAULTS = {SettingCodes.HEADER_TABLE_SIZE: 4096, SettingCodes.MAX_FRAME_SIZE: 16384}


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

    @property
    def is_said(self) -> bool:
        """Whether no client is still to hear it."""
        return not any(connection.is_awaited for connection in self.connections)


class _Connection(Gathering):
    """One HTTP/2 connection."""

    def begin(self, farewell: Farewell) -> None:
        self._farewell = farewell
        self._write, self.send = self.send, self._send_unless_unheard
        self._discarded: Set[int] = set()
        self._refused: Set[int] = set()
        self._highest = 0  # the request that was begun last
        self._last: Optional[int] = None  # the last request that is served, once that is known
        self._announced = self._said = self._heard = False  # the ping's answer says what has been heard
        self._awaited_until = 0.0
        self._say_by = 0.0  # when good-bye is said if nothing else was the reason to
        self._turns: Optional[int] = None  # pings answered since all answers have been sent
        self._made_with_h2 = self._multiplexes = False
        self._frames = b""  # to be sent after what h2 has to send
        upstream.go_on_after_goaway(self.connection)
        farewell.connections.add(self)

    async def leave(self) -> None:
        """Say good-bye if nothing is in progress."""
        if self.closed:
            return
        if self._is_quiet():
            await self._flush()
        elif self._made_with_h2:
            self.task_group.spawn(self._give_turns)

    def _is_quiet(self) -> bool:
        """Tell whether there were requests and none is in progress: one that was just opened may send its first."""
        return self._highest > 0 and self.connection.open_inbound_streams <= len(self._discarded - self._refused)

    @property
    def is_awaited(self) -> bool:
        """Whether the good-bye is on its way, and the client has time left to hear it.

        A client made with h2 has time to close, where it made requests that are to be sent again: httpcore fails them
        all when one cannot be written to the end.
        """
        heard = self._ended and not (self._made_with_h2 and self._discarded)
        return not self.closed and not heard and time.monotonic() < self._awaited_until

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
        if self._farewell.left_at is not None and not self._said and self._is_quiet():
            self._say_at_quiet_moment()
        data, self._frames = self.connection.data_to_send() + self._frames, b""
        if data:
            await self.send(RawData(data=data))

    def _say_at_quiet_moment(self) -> None:
        if not self._made_with_h2:
            if not self._announced:
                self._announce()  # many requests may be on their way already
        elif self._multiplexes:
            self._ask()
        else:
            self._say_last()

    async def _give_turns(self) -> None:
        """Send pings until requests are held, which has its own, or good-bye is said.

        httpcore's requests take turns to read for all, and a request has its turn only when something comes. Without
        pings its last uploads would wait for a window that is open (http2.py, _wait_for_outgoing_flow).
        """
        while self._last is None and not self.closed:
            self.connection.ping(_TURN)
            await self._flush()
            await self.context.sleep(TURN)

    def _hold(self) -> None:
        """Begin no more requests; what is held is refused later. Pings give turns."""
        if self._last is None:
            self._last = self._highest
            self._ping()
            self._say_by = time.monotonic() + HOLD
            self.task_group.spawn(self._see_off)

    def _ask(self) -> None:
        """Have the client read the answers, all of which have been sent: each request that is held takes two turns.

        One that had its turn before would find the GOAWAY before an answer that was read for it.
        """
        self._hold()
        if self._turns is None:
            self._turns = 0

    def _go_on(self) -> None:
        """Do what follows when the client has heard the announcement or a ping."""
        if self._turns is not None:
            self._turns += 1  # the first answer may be to a ping that was sent before the last answer
            self._say_by = time.monotonic() + HOLD
        if self._announced or (self._turns or 0) > 2 * len(self._discarded) + 1:
            self._say_last()
        else:
            self._ping()

    def _announce(self) -> None:
        self._announced = True
        self._go_away(_NO_LAST_STREAM)
        self._say_by = self._awaited_until
        self.task_group.spawn(self._see_off)

    async def _see_off(self) -> None:
        """Keep the connection open until the client has heard: Hypercorn closes what it thinks is idle."""
        await self._write(Updated(idle=False))
        await self._say_last_in_time()
        await self._wait_until_heard()
        if self.idle and not self.closed:
            await self.send(Updated(idle=True))

    async def _say_last_in_time(self) -> None:
        """Return when good-bye has been said; say it when its time has come if nothing else was the reason to."""
        while not self._said and not self.closed and time.monotonic() < self._say_by:
            await self.context.sleep(0.01)
        if not self._said and not self.closed:
            self._say_last()
            await self._flush()

    def _say_last(self) -> None:
        if self._last is None:
            self._last = self._highest
        self._said = True
        self._go_away(self._last)

    def _go_away(self, last: int) -> None:
        # Not by h2's close_connection: after it nothing more could be sent.
        self._ping()
        self._frames += GoAwayFrame(0, last_stream_id=last, error_code=0).serialize()

    def _ping(self) -> None:
        # A busy client made with h2 reads slowly: each of its requests takes its turn, and it loses all if it is cut.
        self._heard, self._awaited_until = False, time.monotonic() + (HOLD if self._made_with_h2 else HEARD)
        self.connection.ping(_PING)

    async def stream_send(self, event: Any) -> None:
        """Send what a stream says. Its end waits until its last bytes have been written: Hypercorn may close then."""
        if isinstance(event, StreamClosed):
            while not self.closed and getattr(self.stream_buffers.get(event.stream_id), "complete", False):
                await self.context.sleep(0.001)
            if self._last is not None and not self._announced:
                self._say_by = time.monotonic() + HOLD
        await super().stream_send(event)

    async def _send_unless_unheard(self, event: Any) -> None:
        """Pass on what Hypercorn's server is told. It closes what is idle: not before the client has heard good-bye."""
        if isinstance(event, Updated) and event.idle and self._farewell.left_at is not None:
            await self._wait_until_heard()
            await self._let_client_close()
        await self._write(event)

    async def _let_client_close(self) -> None:
        """Wait until the client has read the last answers, and has closed or has had the time to.

        What it sends to a closed connection, as a WINDOW_UPDATE, has the kernel reset it, and answers that it has not
        read are lost. Clients made with h2 have read them before they hear good-bye.
        """
        if not self._ended or self._made_with_h2:
            return
        self._ping()
        await self._flush()
        await self._wait_until_heard()
        limit = time.monotonic() + CLOSE
        while not self.closed and time.monotonic() < limit:
            await self.context.sleep(0.005)

    async def _wait_until_heard(self) -> None:
        while self.is_awaited:
            await self.context.sleep(0.005)
        if self._said:
            await self._refuse()

    @property
    def _ended(self) -> bool:
        """Whether the client has heard which request is the last one."""
        return self._said and self._heard

    async def _refuse(self) -> None:
        """Tell the client that what was discarded was never begun, once it has heard what the last request is.

        Clients made with h2 know from the GOAWAY, and take a frame after it for an error.
        """
        if self._made_with_h2:
            return
        for stream in sorted(self._discarded - self._refused):
            self._refused.add(stream)
            with suppress(h2.exceptions.ProtocolError):  # the client may have reset it
                self.connection.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
        await self._flush()

    # ---- what is received --------------------------------------------------------------------------------------------

    async def initiate(self, headers: Any = None, settings: Any = None) -> None:
        """Begin; `headers` are those of an upgrade from HTTP/1.1, which is request 1."""
        self._highest = 0 if headers is None else 1
        await super().initiate(headers, settings)

    async def handle(self, event: Any) -> None:
        """Handle what comes from the client or the server; a close by the server says good-bye first."""
        if isinstance(event, Closed) and not self.closed and self._farewell.left_at is not None and not self._said:
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
        if self._heard and not self._said:
            self._go_on()
            await self._flush()
        if self._ended:
            await self._refuse()

    def _keeps(self, event: Any, begun: Set[int]) -> bool:
        """Act on an event that Hypercorn must not see; return whether it is one. `begun`: what begins with it."""
        stream: Optional[int] = getattr(event, "stream_id", None)
        if isinstance(event, h2.events.PingAckReceived) and event.ping_data == _PING:
            self._heard = True
        elif isinstance(event, h2.events.RemoteSettingsChanged):
            said = {code: changed.new_value for code, changed in event.changed_settings.items()}
            self._made_with_h2 |= said.items() >= _H2_DEFAULTS.items()
        elif isinstance(event, h2.events.RequestReceived):
            assert stream is not None
            self._begin_or_discard(stream)
        elif isinstance(event, h2.events.DataReceived) and stream not in {*self.streams, *begun} - self._discarded:
            # Discarded, or answered before its body was read, which Hypercorn does not expect (KeyError). It counts for
            # the connection's window all the same: without this, uploads in progress would stall.
            if not (self._said and self._made_with_h2):
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            return True
        elif isinstance(event, h2.events.StreamReset) and stream in self._discarded:
            self._discarded.discard(stream)
            return True
        return stream in self._discarded

    def _begin_or_discard(self, stream: int) -> None:
        self._multiplexes = self._multiplexes or self.connection.open_inbound_streams > 1
        if self._last is None and not self._announced and self._has_waited():
            if self._made_with_h2:
                self._hold()
            else:
                self._announce()
        if self._last is not None and stream > self._last:
            self._discarded.add(stream)
        else:
            self._highest = stream

    def _has_waited(self) -> bool:
        left_at = self._farewell.left_at
        return left_at is not None and time.monotonic() > left_at + QUIET
