# SPDX-License-Identifier: MIT
"""Answers 503 at once to what exceeds a number of requests and WebSockets in progress (LIMIT_CONCURRENCY)."""

from typing import Any, Callable, Dict, Optional

from hypercorn_image.logs import Seldom

RETRY_AFTER = b"1"  # seconds
_BODY = b"too many requests in progress\n"
_HEADERS = [
    (b"content-type", b"text/plain"),
    (b"content-length", str(len(_BODY)).encode()),
    (b"retry-after", RETRY_AFTER),
]
LINE = "LIMIT_CONCURRENCY reached: %d requests in progress; more are answered with 503"


class Limit:
    """An ASGI 3 application around another one, which gets `limit` requests and WebSockets at once.

    Requests for the path `always` are served all the same, and do not count. `log` takes a level, a message and its
    values.
    """

    def __init__(self, application: Any, limit: int, always: Optional[str], log: Callable[..., None]) -> None:
        self._application, self._limit, self._always, self.log = application, limit, always, log
        self._in_progress = 0
        self._seldom = Seldom()

    async def __call__(self, scope: Dict[str, Any], receive: Any, send: Any) -> None:
        """Serve one request, WebSocket or lifespan."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] == self._always):
            await self._application(scope, receive, send)
        elif self._in_progress >= self._limit:
            if self._seldom.may():
                self.log("warning", LINE, self._limit)
            await _refuse(scope, send)
        else:
            self._in_progress += 1
            try:
                await self._application(scope, receive, send)
            finally:
                self._in_progress -= 1


async def _refuse(scope: Dict[str, Any], send: Any) -> None:
    # A WebSocket's handshake is answered by an extension of ASGI, which Hypercorn has.
    kind = "http.response" if scope["type"] == "http" else "websocket.http.response"
    await send({"type": f"{kind}.start", "status": 503, "headers": _HEADERS})
    await send({"type": f"{kind}.body", "body": _BODY})
