# SPDX-License-Identifier: MIT
"""One request and its answer, as the application sees them: what Hypercorn's HTTPStream does."""

import asyncio
import time
from collections import deque
from typing import Any, Deque, Dict, Optional, Union
from urllib.parse import unquote

import h11
from hypercorn.protocol.http_stream import ASGIHTTPState
from hypercorn.utils import UnexpectedMessageError, build_and_validate_headers, suppress_body

from hypercorn_image.worker.http1.answer import ByH11, Plain, plain_answer
from hypercorn_image.worker.http1.head import Head, Headers

_PIECE = 2**16  # bytes of an event's body at most, as Hypercorn reads
_JOINED = 2**16  # bytes of a body that is copied behind its head, to be one write
_LAST_ANSWER: Headers = [(b"content-length", b"0"), (b"connection", b"close")]


class Request:
    """One request and its answer: the scope, and ASGI's `receive` and `send`.

    `connection` is the one it came on. `missing` is how many bytes of its body are still to come.
    """

    def __init__(self, connection: Any, head: Head, data: bytes) -> None:
        self._connection, self._head, self._data = connection, head, data
        self.missing = head.length
        self.closed = False
        self._state = ASGIHTTPState.REQUEST
        self._events: Deque[Dict[str, Any]] = deque()
        self._arrived = asyncio.Event()
        self._answer: Union[Plain, ByH11]
        self._h11: Optional[ByH11] = None
        self._response: Dict[str, Any] = {}
        self._unsent = b""  # a head, until the loop's next turn or the body that is sent before it
        if not self.missing:
            self._events.append({"type": "http.request", "body": b"", "more_body": False})

    @property
    def answered(self) -> bool:
        """Whether the answer is complete."""
        return self._state is ASGIHTTPState.CLOSED

    @property
    def reusable(self) -> bool:
        """Whether the answer is complete and leaves the connection open."""
        return self.answered and self._answer.reusable

    def start(self) -> None:
        """Run the application."""
        http1, head = self._connection.http1, self._head
        self._started = time.time()
        path, _, query = head.target.partition(b"?")
        text = path.decode("ascii")
        self.scope = {
            "type": "http",
            "http_version": "1.1",
            "asgi": {"spec_version": "2.1", "version": "3.0"},
            "method": head.method,
            "scheme": "https" if self._connection.tls else "http",
            "path": unquote(text) if "%" in text else text,
            "raw_path": path,
            "query_string": query,
            "root_path": http1.config.root_path,
            "headers": head.raw_headers if http1.config.h11_pass_raw_headers else head.headers,
            "client": self._connection.client,
            "server": self._connection.server,
            "state": http1.state.copy(),
            "extensions": {},
        }
        self._task = http1.loop.create_task(self._run())

    async def _run(self) -> None:
        log = self._connection.http1.config.log
        try:
            await self._connection.http1.application(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            raise
        except Exception:
            await log.exception("Error in ASGI Framework")
        finally:
            try:
                if not self.closed and self._state is ASGIHTTPState.REQUEST:
                    await self._answer_error(500)
                await self._end()
            except h11.LocalProtocolError:  # h11 has failed for good: Hypercorn sends nothing more
                self.closed = True
                self._connection.finish(self, False)

    def take_body(self, data: bytes) -> bytes:
        """Take the body's part of `data`; return the rest."""
        body, rest = data[: self.missing], data[self.missing :]
        self.missing -= len(body)
        for start in range(0, len(body), _PIECE):
            self._put({"type": "http.request", "body": body[start : start + _PIECE], "more_body": True})
        if not self.missing:
            self._put({"type": "http.request", "body": b"", "more_body": False})
        return rest

    def _put(self, event: Dict[str, Any]) -> None:
        if self.closed and event["type"] == "http.request":
            return  # nobody will read it
        self._events.append(event)
        if len(self._events) >= self._connection.http1.config.max_app_queue_size:
            self._connection.pause_reading()
        self._arrived.set()

    def disconnect(self) -> None:
        """The client has gone, or sends no more. It may still read the answer."""
        if not self.closed:
            self.closed = True
            self._logging = self._connection.loop.create_task(self._log(None))
            self._put({"type": "http.disconnect"})

    def break_off(self) -> None:
        """The client's body ends too early: answer 400, unless an answer has begun, and close."""
        if self._state is ASGIHTTPState.REQUEST:
            answer = ByH11(self._data)
            answer.begin(400, [*_LAST_ANSWER, *self._connection.http1.common_headers()[0]])
            self._connection.write(answer.head)
        else:
            self._flush()
        self._connection.close()
        self.disconnect()

    async def receive(self) -> Dict[str, Any]:
        """Return the next event: parts of the body, then the disconnect."""
        while not self._events:
            if self.closed:
                return {"type": "http.disconnect"}
            self._arrived.clear()
            await self._arrived.wait()
        event = self._events.popleft()
        if len(self._events) < self._connection.http1.config.max_app_queue_size:
            self._connection.resume_reading()
        return event

    async def send(self, message: Dict[str, Any]) -> None:
        """Send `message`; raises what Hypercorn raises if it is not allowed now."""
        kind = message["type"]
        if kind == "http.response.body" and self._state is ASGIHTTPState.RESPONSE:
            await self._send_body(message)
        elif kind == "http.response.start" and self._state is ASGIHTTPState.REQUEST:
            self._response = message
            self._begin_answer(int(message["status"]), build_and_validate_headers(message.get("headers", [])))
            self._state = ASGIHTTPState.RESPONSE
            self._connection.loop.call_soon(self._flush)
        else:
            raise UnexpectedMessageError(self._state, kind)

    def _begin_answer(self, status: int, headers: Headers) -> None:
        common, lines = self._connection.http1.common_headers()
        answer: Any = plain_answer(self._head, status, headers, lines) if self._h11 is None else None
        if answer is None:
            answer = self._h11 = self._h11 or ByH11(self._data)
            answer.begin(status, [*headers, *common])
        self._answer = answer
        self._unsent = answer.head

    def _flush(self, data: bytes = b"") -> None:
        head, self._unsent = self._unsent, b""
        if len(data) > _JOINED:
            self._connection.write(head)
            self._connection.write(data)
        elif head or data:
            self._connection.write(head + data if head else data)

    async def _send_body(self, message: Dict[str, Any]) -> None:
        body = bytes(message.get("body", b""))
        data = b""
        if body and not suppress_body(self._head.method, int(self._response["status"])):
            data = self._answer.body(body)
        last = not message.get("more_body", False)
        if last and not self._response.get("trailers", False):
            try:
                data += self._answer.end()
            finally:  # also if it raises
                self._flush(data)
            await self._connection.drain()
            self._state = ASGIHTTPState.CLOSED
            await self._log(self._response)
            await self._end()
            return
        if last:
            self._state = ASGIHTTPState.TRAILERS
        self._flush(data)
        await self._connection.drain()

    async def _answer_error(self, status: int) -> None:
        self._begin_answer(status, _LAST_ANSWER)
        self._flush(self._answer.end())
        self._state = ASGIHTTPState.CLOSED
        await self._log({"status": status, "headers": []})

    async def _log(self, response: Optional[Dict[str, Any]]) -> None:
        await self._connection.http1.config.log.access(self.scope, response, time.time() - self._started)

    async def _end(self) -> None:
        """End the answer, complete or not: tell the application, and go on with the connection."""
        self._flush()
        if not self.closed:
            self.closed = True
            if self._state is not ASGIHTTPState.CLOSED:
                await self._log(None)
            self._put({"type": "http.disconnect"})
        self._connection.finish(self, self.reusable)
