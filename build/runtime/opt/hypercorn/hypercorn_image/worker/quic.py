"""Ending HTTP/3 connections at a stop, which Hypercorn does not do.

After termination its UDP loop waits for one more datagram, and for every client to go of its own accord
(HYPERCORN.md 16, asyncio/udp_server.py and trio/udp_server.py, `run`): every stop lasted the whole graceful timeout.
This closes each connection once its answers have arrived, by aioquic's documented `close`. It can go when Hypercorn
closes its QUIC connections itself.
"""

from typing import Any, List

from hypercorn_image import upstream

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
        """Whether a connection has not made its first request, which would be rejected later."""
        return any(upstream.quic_requests(connection.quic) == 0 for connection in self._connections())

    def _connections(self) -> List[Any]:
        return upstream.quic_connections(self._protocol)

    async def announce(self) -> None:
        """Tell every client that its connection is about to end."""
        for connection in self._talking():
            connection.h3.announce()
            await self._protocol.send_all(connection)

    async def say_last(self) -> None:
        """Tell every client which request is the first that is not served."""
        for connection in self._talking():
            connection.h3.say_last()
            await self._protocol.send_all(connection)

    def _talking(self) -> List[Any]:
        """Return the connections whose handshake has got as far as HTTP/3."""
        return [one for one in self._connections() if hasattr(one.h3, "may_close")]

    async def close_finished(self) -> bool:
        """Close the connections that have nothing left to send; return whether all of them are closed or gone."""
        busy = False
        for connection in self._connections():
            if any(connection is closed for closed in self._closed):
                continue
            if upstream.quic_is_busy(connection) or not getattr(connection.h3, "may_close", True):
                busy = True
                continue
            self._closed.append(connection)
            connection.quic.close(error_code=_H3_NO_ERROR)
            await self._protocol.send_all(connection)
        return not busy
