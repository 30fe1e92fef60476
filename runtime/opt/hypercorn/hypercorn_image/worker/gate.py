# SPDX-License-Identifier: MIT
"""The gate between Hypercorn and the application: counts what is in progress, and tells clients when to leave.

Every request passes through it, so it must be fast.
"""

import contextlib
from typing import Any, Callable, Dict, Optional, Set

from hypercorn_image.app import lifespan
from hypercorn_image.logs import answered
from hypercorn_image.worker.websocket import Left, WebSocket

_CLOSE = (b"connection", b"close")


class Gate:
    """An ASGI 3 application around another one.

    `in_progress` is how many requests and WebSockets are being served; `on_limit` is called once, at the request number
    `limit`. After `leave`, answers over HTTP/1.1 say that their connection ends, and WebSockets are closed.
    `spawn` runs a coroutine function in the background. `cut` closes one of Hypercorn's connections.
    """

    def __init__(
        self, application: Any, state: Dict[str, Any], spawn: Callable[[Any], None], cut: Callable[[Any], Any]
    ) -> None:
        self.in_progress = 0
        self.total = 0
        self.limit: Optional[int] = None
        self.on_limit: Callable[[], None] = lambda: None
        self.leaving = False
        self._application = application
        self._state = state
        self._spawn, self._cut = spawn, cut
        self._sockets: Set[WebSocket] = set()

    async def __call__(self, scope: Dict[str, Any], receive: Any, send: Any) -> None:
        """Serve a request, a WebSocket, or Hypercorn's lifespan."""
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
            answered.discard(id(scope))

    def _noting(self, scope: Dict[str, Any], send: Any) -> Any:
        """Return `send` that notes the end of the answer to `scope`, and says `connection: close` when leaving.

        Only HTTP/1.1 has that header. It keeps a client from sending on a connection that is about to be closed.
        """
        closes, key = scope["http_version"] < "2", id(scope)

        async def noting(message: Dict[str, Any]) -> None:
            if message["type"] == "http.response.body":
                if not message.get("more_body"):
                    answered.add(key)
            elif self.leaving and closes and message["type"] == "http.response.start":
                headers = [pair for pair in message.get("headers", ()) if bytes(pair[0]).lower() != b"connection"]
                message = {**message, "headers": [*headers, _CLOSE]}
            try:
                await send(message)
            except (AttributeError, OSError):
                # The client has its answer and has gone. asyncio's TLS raises an AttributeError then (sslproto.py).
                if not (self.leaving and key in answered):
                    raise

        return noting

    async def _serve_websocket(self, scope: Dict[str, Any], receive: Any, send: Any) -> None:
        connection = WebSocket(receive, send, self._cut)
        connection.leaving = self.leaving
        self._sockets.add(connection)
        try:
            await self._application(scope, connection.receive, connection.send)
        except Left:
            pass  # raised in `send`, and the application did not catch it
        finally:
            self._sockets.discard(connection)

    def not_ready(self, path: str) -> None:
        """Answer 503 at `path` from now on. All other requests are served as before."""
        application = self._application

        async def not_ready(scope: Dict[str, Any], receive: Any, send: Any) -> None:
            if scope["type"] == "http" and scope["path"] == path:
                headers = [(b"content-type", b"text/plain"), (b"content-length", b"9")]
                await send({"type": "http.response.start", "status": 503, "headers": headers})
                await send({"type": "http.response.body", "body": b"draining\n"})
            else:
                await application(scope, receive, send)

        self._application = not_ready

    def leave(self) -> None:
        """Begin to leave: send every open WebSocket a close frame, and its application a disconnect."""
        self.leaving = True
        for connection in self._sockets:
            self._beside(connection.leave)

    def cut_silent(self) -> None:
        """Close the connections of WebSocket clients that did not answer their close frame."""
        for connection in self._sockets:
            if connection.is_silent:
                self._beside(connection.cut)

    def _beside(self, function: Callable[[], Any]) -> None:
        # In the background, because a client that does not read would hold up the others.
        async def quietly() -> None:
            with contextlib.suppress(Exception):  # the connection ends anyway
                await function()

        self._spawn(quietly)
