"""Ending HTTP/3 connections at a stop, which Hypercorn does not do.

After termination its UDP loop waits for one more datagram, and for every client to go of its own accord
(HYPERCORN.md 16, asyncio/udp_server.py and trio/udp_server.py, `run`): every stop lasted the whole graceful timeout.
This closes each connection once its answers have arrived. It uses aioquic's documented `close`, and looks into
Hypercorn's protocol object read-only; where that looks different, a stop is merely slower. It can go when Hypercorn
closes its QUIC connections itself.
"""

from typing import Any, Iterable, List

_H3_NO_ERROR = 0x100


class Quic:
    """The HTTP/3 connections of one of Hypercorn's UDP sockets."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._closed: List[Any] = []

    @property
    def gone(self) -> bool:
        """Whether no connection is left."""
        return not self._connections()

    @property
    def awaits_request(self) -> bool:
        """Whether a connection has not made its first request, which Hypercorn would ignore after termination."""
        return any(_requests(connection.quic) == 0 for connection in self._connections())

    def _connections(self) -> List[Any]:
        return list(getattr(self._protocol, "connections", {}).values())

    async def close_finished(self) -> bool:
        """Close the connections that have nothing left to send; return whether all of them are closed or gone."""
        busy = False
        for connection in self._connections():
            if any(connection is closed for closed in self._closed):
                continue
            if _is_busy(connection):
                busy = True
                continue
            self._closed.append(connection)
            connection.quic.close(error_code=_H3_NO_ERROR)
            await self._protocol.send_all(connection)
        return not busy


def _requests(quic: Any) -> int:
    """Return how many requests a client has made, or 1 where aioquic does not tell."""
    return int(getattr(getattr(quic, "_local_max_streams_bidi", None), "used", 1))


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
