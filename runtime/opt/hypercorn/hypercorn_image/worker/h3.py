# SPDX-License-Identifier: MIT
"""HTTP/3's good-bye (RFC 9114, 5.2): a GOAWAY that announces, a second one that names the first request not served.

Hypercorn sends no GOAWAY and ignores requests that come after its termination. The body of such a request ends its UDP
loop with a KeyError (protocol/h3.py of 0.18.0). Here requests are served until the second GOAWAY. Later ones are
rejected, so that the client may send them again. This can go when Hypercorn does the same.
"""

import time
from contextlib import suppress
from typing import Any, List, Optional, Set

from aioquic.h3.connection import ErrorCode
from aioquic.h3.events import HeadersReceived
from aioquic.quic.events import PingAcknowledged, StreamDataReceived, StreamReset
from hypercorn.protocol import quic
from hypercorn.protocol.h3 import H3Protocol

from hypercorn_image import upstream
from hypercorn_image.worker.untold import Untold

HEARD = 0.4  # seconds that a client gets to hear the second GOAWAY
ARRIVED = 3.0  # seconds that requests of which packets were lost get to come
_NO_LAST_REQUEST = 2**62 - 4
_ANNOUNCEMENT, _LAST = 0x600DB7E, 0x600DB7F  # the pings behind them


class Connection(H3Protocol):
    """One HTTP/3 connection."""

    def __init__(self, app: Any, config: Any, context: Any, *args: Any) -> None:
        untold: Any = Untold(context)
        super().__init__(app, config, untold, *args)
        self._first_unserved: Optional[int] = None  # once the client has been told
        self._highest = -4  # request
        self._on_their_way: Set[int] = set()  # those with lower numbers that have not come
        self._said_at = 0.0
        self._rejected: Set[int] = set()
        self._announced = False
        self._heard: Set[int] = set()  # the pings that were answered
        self._parse, self.connection.handle_event = self.connection.handle_event, self._known  # type: ignore[assignment]

    @property
    def may_close(self) -> bool:
        """Whether the client has heard which request is the last one, or has had the time to."""
        since = time.monotonic() - self._said_at
        heard = _LAST in self._heard or since > HEARD
        return self._first_unserved is not None and heard and (not self._on_their_way or since > ARRIVED)

    @property
    def is_warned(self) -> bool:
        """Whether the client, where it was told that the end is near, has heard it."""
        return not self._announced or _ANNOUNCEMENT in self._heard

    def announce(self) -> None:
        """Say that the end is near. The caller sends."""
        if not self._announced:
            self._announced = True
            upstream.send_http_3_goaway(self.connection, _NO_LAST_REQUEST)
            upstream.quic_of(self.connection).send_ping(_ANNOUNCEMENT)

    def say_last(self) -> None:
        """Say which request is the first that is not served. The caller sends."""
        if self._first_unserved is None:
            self._first_unserved, self._said_at = self._highest + 4, time.monotonic()
            upstream.send_http_3_goaway(self.connection, self._first_unserved)
            upstream.quic_of(self.connection).send_ping(_LAST)

    async def handle(self, quic_event: Any) -> None:
        """Handle what aioquic has received; reject a request that comes too late."""
        if isinstance(quic_event, PingAcknowledged):
            self._heard.add(quic_event.uid)
        elif isinstance(quic_event, StreamDataReceived) and quic_event.stream_id % 4 == 0:
            if self._first_unserved is not None and quic_event.stream_id >= self._first_unserved:
                self._reject(quic_event.stream_id)
                return
            self._note_request(quic_event.stream_id)
        elif isinstance(quic_event, StreamReset):
            self._on_their_way.discard(quic_event.stream_id)
        await super().handle(quic_event)

    def _note_request(self, stream: int) -> None:
        """Note that something of a request has come. A client opens its streams in order (RFC 9000, 2.1)."""
        self._on_their_way.discard(stream)
        if stream > self._highest:
            self._on_their_way.update(range(self._highest + 4, stream, 4))
            self._highest = stream

    def _reject(self, stream: int) -> None:
        if stream not in self._rejected:
            self._rejected.add(stream)
            below = upstream.quic_of(self.connection)
            below.reset_stream(stream, ErrorCode.H3_REQUEST_REJECTED)
            with suppress(ValueError):  # it has arrived whole
                below.stop_stream(stream, ErrorCode.H3_REQUEST_REJECTED)

    def _known(self, quic_event: Any) -> List[Any]:
        """Return aioquic's events, without the body of a request that was answered before it was read."""
        events = self._parse(quic_event)
        begun = {*self.streams, *(event.stream_id for event in events if isinstance(event, HeadersReceived))}
        return [event for event in events if getattr(event, "stream_id", None) in begun]


def install() -> None:
    """Make Hypercorn use this class for its HTTP/3 connections."""
    setattr(quic, "H3Protocol", Connection)  # noqa: B010 - Hypercorn looks it up for each connection
