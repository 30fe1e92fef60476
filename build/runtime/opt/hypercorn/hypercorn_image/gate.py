"""The gate between Hypercorn and the application: knows what is in progress, and tells WebSockets when to leave.

Every request passes here, so it does nothing that costs. It decides nothing about processes.
"""

from typing import Any, Callable, Dict, Optional, Set

from hypercorn_image import lifespan

GOING_AWAY = 1012  # "service restart", RFC 6455 registry: the client may come back at once


class Left(ConnectionResetError):
    """Raised in a WebSocket application that goes on sending after the server has closed the connection."""


class Gate:
    """An ASGI 3 application around another one.

    `in_progress` is how many requests and WebSockets are being served. `limit` is after how many requests `on_limit` is
    called, once.
    """

    def __init__(self, application: Any, state: Dict[str, Any], event: Callable[[], Any]) -> None:
        self.in_progress = 0
        self.total = 0
        self.limit: Optional[int] = None
        self.on_limit: Callable[[], None] = lambda: None
        self._application = application
        self._state = state
        self._event = event
        self._sockets: Set["_WebSocket"] = set()
        self.leaving = False

    async def __call__(self, scope: Dict[str, Any], receive: Any, send: Any) -> None:
        """Serve one request, WebSocket, or Hypercorn's lifespan."""
        if scope["type"] == "lifespan":
            await lifespan.answer(self._state, scope, receive, send)
            return
        self.in_progress += 1
        self.total += 1
        if self.total == self.limit:
            self.on_limit()
        try:
            if scope["type"] == "websocket":
                await self._serve_websocket(scope, receive, send)
            else:
                await self._application(scope, receive, send)
        finally:
            self.in_progress -= 1

    async def _serve_websocket(self, scope: Dict[str, Any], receive: Any, send: Any) -> None:
        connection = _WebSocket(receive, send)
        self._sockets.add(connection)
        try:
            await self._application(scope, connection.receive, connection.send)
        except Left:
            pass  # ours, and the application let it through
        finally:
            self._sockets.discard(connection)

    async def close_websockets(self) -> None:
        """Send every open WebSocket a close frame and its application a disconnect."""
        self.leaving = True
        for connection in list(self._sockets):
            await connection.leave()


class _WebSocket:
    def __init__(self, receive: Any, send: Any) -> None:
        self._receive, self._send = receive, send
        self._accepted = self._left = False

    async def receive(self) -> Dict[str, Any]:
        message: Dict[str, Any] = await self._receive()
        if self._left and message["type"] == "websocket.disconnect":
            message = {**message, "code": GOING_AWAY}
        return message

    async def send(self, message: Dict[str, Any]) -> None:
        if self._left:
            raise Left("the server is stopping and has closed this WebSocket")
        if message["type"] == "websocket.accept":
            self._accepted = True
        await self._send(message)

    async def leave(self) -> None:
        if self._accepted and not self._left:
            self._left = True
            await self._send({"type": "websocket.close", "code": GOING_AWAY, "reason": "the server is stopping"})
