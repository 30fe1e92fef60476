# SPDX-License-Identifier: MIT
"""One WebSocket between Hypercorn and the application: closed when the worker leaves, cut when its client is silent."""

import time
from typing import Any, Callable, Dict, Optional

from hypercorn_image import upstream

GOING_AWAY = 1012  # "service restart" in the registry of RFC 6455: the client may come back at once
ANSWER = 0.5  # seconds that a client gets to answer a close frame


class Left(ConnectionResetError):
    """Raised in a WebSocket application that goes on sending after the server has closed the connection."""


class WebSocket:
    """Passes messages on. After `leave`, the application gets a disconnect.

    `cut` closes one of Hypercorn's connections.
    """

    def __init__(self, receive: Any, send: Any, cut: Callable[[Any], Any]) -> None:
        self._receive, self._send, self._cut = receive, send, cut
        self._open = self._ended = False
        self._left_at: Optional[float] = None
        self.leaving = False

    async def receive(self) -> Dict[str, Any]:
        """Return the next message for the application."""
        message: Dict[str, Any] = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._ended = True
            if self._left_at is not None:
                return {**message, "code": GOING_AWAY}
        return message

    async def send(self, message: Dict[str, Any]) -> None:
        """Send a message of the application; raises Left after the close frame."""
        if self._left_at is not None:
            raise Left("the server is stopping and has closed this WebSocket")
        await self._send(message)
        if message["type"] in ("websocket.accept", "websocket.close"):
            self._open = message["type"] == "websocket.accept"
            if self.leaving:
                await self.leave()

    async def leave(self) -> None:
        """Send the close frame; the client's answer to it, or its silence, becomes the application's disconnect."""
        self.leaving = True
        if self._open and self._left_at is None:
            self._left_at = time.monotonic()
            await self._send({"type": "websocket.close", "code": GOING_AWAY, "reason": "the server is stopping"})

    @property
    def is_silent(self) -> bool:
        """Whether the client has not answered the close frame in time."""
        return self._left_at is not None and not self._ended and time.monotonic() > self._left_at + ANSWER

    async def cut(self) -> None:
        """Close the connection; over HTTP/2 only the stream, if there are others."""
        self._ended = True
        protocol, stream = upstream.connection_of(self._send)
        if not hasattr(protocol, "abandon"):
            await self._cut(protocol.send.__self__)
        elif not await protocol.abandon(stream):
            await self._cut(protocol.served_by)
