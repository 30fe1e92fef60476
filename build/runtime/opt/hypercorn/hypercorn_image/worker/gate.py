"""The gate between Hypercorn and the application: knows what is in progress, and tells clients when to leave.

Every request passes here, so it does nothing that costs. It decides nothing about processes.
"""

from typing import Any, Callable, Dict, List, Optional, Set, Tuple

from hypercorn_image.app import lifespan
from hypercorn_image.logs import ANSWERED

GOING_AWAY = 1012  # "service restart" in the registry of RFC 6455: the client may come back at once
_CLOSE = (b"connection", b"close")


class Left(ConnectionResetError):
    """Raised in a WebSocket application that goes on sending after the server has closed the connection."""


class Gate:
    """An ASGI 3 application around another one.

    `in_progress` is how many requests and WebSockets are being served; `on_limit` is called once, at the request number
    `limit`. After `leave`, answers over HTTP/1.1 say that their connection ends, and WebSockets are closed.
    """

    def __init__(self, application: Any, state: Dict[str, Any], sleep: Callable[[float], Any]) -> None:
        self.in_progress = 0
        self.total = 0
        self.limit: Optional[int] = None
        self.on_limit: Callable[[], None] = lambda: None
        self.leaving = False
        # How a `receive` can be interrupted, where the event loop knows a way: returns it, and what interrupts it.
        self.interruptible: Callable[[Any], Tuple[Any, Callable[[], None]]] = lambda receive: (receive, lambda: None)
        self._sleep = sleep
        self._application = application
        self._state = state
        self._sockets: Set["_WebSocket"] = set()

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
                await self._application(scope, receive, self._noting(scope, send))
        finally:
            self.in_progress -= 1

    def _noting(self, scope: Dict[str, Any], send: Any) -> Any:
        """Return `send` that notes the end of the answer in `scope`, and says `connection: close` when leaving.

        The header is for HTTP/1.1 alone: it keeps a client from sending into a connection that is about to be closed.
        """
        closes = scope["http_version"] < "2"

        async def noting(message: Dict[str, Any]) -> None:
            if message["type"] == "http.response.body":
                if not message.get("more_body"):
                    scope[ANSWERED] = True
            elif self.leaving and closes and message["type"] == "http.response.start":
                headers = [pair for pair in message.get("headers", ()) if bytes(pair[0]).lower() != b"connection"]
                message = {**message, "headers": [*headers, _CLOSE]}
            try:
                await send(message)
            except (AttributeError, OSError):
                # The client has its answer and has gone; asyncio's TLS says so by an AttributeError (sslproto.py).
                if not (self.leaving and scope.get(ANSWERED)):
                    raise

        return noting

    async def _serve_websocket(self, scope: Dict[str, Any], receive: Any, send: Any) -> None:
        connection = _WebSocket(self, scope.get("client"), receive, send)
        self._sockets.add(connection)
        try:
            await self._application(scope, connection.receive, connection.send)
        except Left:
            pass  # ours, and the application let it through
        finally:
            self._sockets.discard(connection)

    async def leave(self) -> None:
        """Begin to say good-bye: send every open WebSocket a close frame and its application a disconnect."""
        self.leaving = True
        for connection in list(self._sockets):
            await connection.leave()

    def silent_clients(self) -> List[Any]:
        """Return the addresses of clients that did not answer their close frame; interrupt their applications."""
        for connection in self._sockets:
            connection.interrupt()
        return [connection.client for connection in self._sockets]


class _WebSocket:
    """One WebSocket: hands messages through, and after `leave` a disconnect to the application."""

    def __init__(self, gate: Gate, client: Any, receive: Any, send: Any) -> None:
        self._gate, self._send = gate, send
        self.client = tuple(client) if client else None
        self._receive, self.interrupt = gate.interruptible(receive)
        self._accepted = self._left = False

    async def receive(self) -> Dict[str, Any]:
        message: Dict[str, Any] = await self._receive()
        if self._left and message["type"] == "websocket.disconnect":
            return {**message, "code": GOING_AWAY}
        return message

    async def send(self, message: Dict[str, Any]) -> None:
        if self._left:
            raise Left("the server is stopping and has closed this WebSocket")
        await self._send(message)
        if message["type"] == "websocket.accept":
            self._accepted = True
            if self._gate.leaving:
                await self.leave()

    async def leave(self) -> None:
        """Send the close frame; the client's answer to it, or its silence, becomes the application's disconnect."""
        if self._accepted and not self._left:
            self._left = True
            await self._send({"type": "websocket.close", "code": GOING_AWAY, "reason": "the server is stopping"})
