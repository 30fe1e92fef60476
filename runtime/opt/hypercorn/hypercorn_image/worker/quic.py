# SPDX-License-Identifier: MIT
"""Closes HTTP/3 connections at a stop, which Hypercorn does not do.

After its termination, Hypercorn's UDP loop waits for one more datagram, and until every client has gone
(asyncio/udp_server.py and trio/udp_server.py, `run`). Each stop would last the whole graceful timeout. So each
connection is closed once its answers have arrived. This can go when Hypercorn does it.
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
        """Whether a connection has not made its first request yet. Later it would be rejected."""
        return any(upstream.quic_requests(connection.quic) == 0 for connection in self._connections())

    @property
    def is_warned(self) -> bool:
        """Whether every client that was told that its connection is about to end has heard it."""
        return all(connection.h3.is_warned for connection in self._talking())

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
        """Return the connections that have finished their handshake."""
        return [connection for connection in self._connections() if hasattr(connection.h3, "may_close")]

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
