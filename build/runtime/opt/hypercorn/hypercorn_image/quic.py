"""Ending HTTP/3 connections at a stop, which Hypercorn does not do.

After termination its UDP loop waits for one more datagram, and for every client to go of its own accord
(HYPERCORN.md 16, asyncio/udp_server.py and trio/udp_server.py, `run`): every stop lasted the whole graceful timeout.
This closes each connection once its answers have arrived. It uses aioquic's documented `close`, and looks into
Hypercorn's server object read-only; where that looks different, a stop is merely slower. It can go when Hypercorn
closes its QUIC connections itself.
"""

import time
from typing import Any, Iterable, List

_H3_NO_ERROR = 0x100
_HANDSHAKE = 1.0  # seconds that a connection which is still being set up is given


def begins_connection(data: bytes, server: Any) -> bool:
    """Tell whether a datagram is an Initial packet (RFC 9000, 17.2.2) of a connection that `server` does not know."""
    if len(data) < 7 or data[0] & 0xF0 != 0xC0:
        return False
    connections = getattr(getattr(server, "protocol", None), "connections", {})
    return data[6 : 6 + data[5]] not in connections


class Quic:
    """The HTTP/3 connections of one of Hypercorn's UDP servers."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._closed: List[Any] = []
        self._begun = time.monotonic()

    @property
    def gone(self) -> bool:
        """Whether no connection is left."""
        protocol = getattr(self._server, "protocol", None)
        return protocol is None or not getattr(protocol, "connections", None)

    async def close_finished(self) -> bool:
        """Close the connections that have nothing left to send; return whether all of them are closed or gone."""
        protocol = getattr(self._server, "protocol", None)
        connections = list(getattr(protocol, "connections", {}).values())
        busy = False
        for connection in connections:
            if any(connection is closed for closed in self._closed):
                continue
            young = connection.h3 is None and time.monotonic() < self._begun + _HANDSHAKE
            if young or _is_busy(connection):
                busy = True
                continue
            self._closed.append(connection)
            connection.quic.close(error_code=_H3_NO_ERROR)
            await self._server.protocol.send_all(connection)
        return not busy


def _is_busy(connection: Any) -> bool:
    if getattr(getattr(connection, "h3", None), "streams", None):
        return True  # the application is still at it
    return any(_unfinished(stream) for stream in _streams(connection.quic))


def _streams(quic: Any) -> Iterable[Any]:
    streams = getattr(quic, "_streams", {})
    return [stream for number, stream in streams.items() if number % 4 == 0]  # a client's requests


def _unfinished(stream: Any) -> bool:
    # The application is done as soon as aioquic has its data: some may be unsent, or lost on the way.
    sender = getattr(stream, "sender", None)
    if sender is None or getattr(sender, "is_finished", True):
        return False
    return bool(getattr(sender, "highest_offset", 0)) or not getattr(sender, "buffer_is_empty", True)
