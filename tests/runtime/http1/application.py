"""The application that plain Hypercorn and the fast path both serve: what it does is in the request's path."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

Events = list[Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Application:
    """Serves, and notes what it was given: `seen` is a list for each client's port."""

    def __init__(self) -> None:
        self.seen: dict[int, Events] = defaultdict(list)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                await send({"type": (await receive())["type"] + ".complete"})
            return
        notes = self.seen[scope["client"][1]]
        shown = {key: value for key, value in scope.items() if key not in ("client", "server")}
        notes.append(json.dumps(shown, default=repr, sort_keys=True))

        async def noting() -> dict[str, Any]:
            event: dict[str, Any] = await receive()
            _join(notes, event)
            return event

        try:
            await ANSWERS[scope["path"].split("/")[1]](scope, noting, send)
        except KeyError:
            await _answer(send, b"what?", status=404)
        except Exception as error:
            notes.append(f"{type(error).__name__}: {error}")
            raise


def _join(notes: Events, event: dict[str, Any]) -> None:
    """Note an event; how a body comes in pieces is the network's affair."""
    last = notes[-1]
    if event["type"] == "http.request" and event["more_body"] and isinstance(last, dict) and last.get("more_body"):
        last["body"] += event["body"]
    else:
        notes.append(dict(event))


async def _answer(send: Send, body: bytes, headers: Any = None, status: int = 200, **more: Any) -> None:
    if headers is None:
        headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers, **more})
    await send({"type": "http.response.body", "body": body})


async def _body(receive: Any) -> bytes:
    data = b""
    while True:
        event = await receive()
        if event["type"] != "http.request":
            return data
        data += event["body"]
        if not event["more_body"]:
            return data


async def _echo(scope: Any, receive: Any, send: Send) -> None:
    await _answer(send, await _body(receive))


async def _early(scope: Any, receive: Any, send: Send) -> None:
    await _answer(send, b"early")


async def _disconnect(scope: Any, receive: Any, send: Send) -> None:
    await _echo(scope, receive, send)
    await receive()  # the end of the request


async def _chunks(scope: Any, receive: Any, send: Send) -> None:
    await _body(receive)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for piece in (b"a", b"", b"bc", b"d" * 70_000):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


async def _slowly(scope: Any, receive: Any, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await asyncio.sleep(0.01)
    await send({"type": "http.response.body", "body": b"ab", "more_body": True})
    await asyncio.sleep(0.01)
    await send({"type": "http.response.body", "body": b"cd"})


async def _big(scope: Any, receive: Any, send: Send) -> None:
    await _answer(send, b"x" * 1_000_000)


async def _status(scope: Any, receive: Any, send: Send) -> None:
    await _answer(send, b"body", status=int(scope["path"].split("/")[2]))


async def _empty_status(scope: Any, receive: Any, send: Send) -> None:
    await _answer(send, b"", [], status=int(scope["path"].split("/")[2]))


async def _raises(scope: Any, receive: Any, send: Send) -> None:
    raise RuntimeError("as asked")


async def _raises_late(scope: Any, receive: Any, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"ab", "more_body": True})
    raise RuntimeError("as asked")


async def _nothing(scope: Any, receive: Any, send: Send) -> None:
    return


async def _start_alone(scope: Any, receive: Any, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def _start_twice(scope: Any, receive: Any, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def _body_first(scope: Any, receive: Any, send: Send) -> None:
    await send({"type": "http.response.body", "body": b"ab"})


async def _more(scope: Any, receive: Any, send: Send) -> None:
    await _answer(send, b"ab")
    await send({"type": "http.response.body", "body": b"cd"})


async def _trailers(scope: Any, receive: Any, send: Send) -> None:
    await _answer(send, b"ab", trailers=True)


async def _headers(scope: Any, receive: Any, send: Send) -> None:
    await _answer(send, b"body", HEADERS[scope["path"].split("/")[2]])


HEADERS: dict[str, Any] = {
    "none": [],
    "short": [(b"content-length", b"5")],
    "long": [(b"content-length", b"3")],
    "twice": [(b"content-length", b"4"), (b"content-length", b"4")],
    "differ": [(b"content-length", b"4"), (b"content-length", b"5")],
    "comma": [(b"content-length", b"4, 4")],
    "word": [(b"content-length", b"four")],
    "signed": [(b"content-length", b"+4")],
    "huge": [(b"content-length", b"9" * 30)],
    "chunked": [(b"transfer-encoding", b"chunked")],
    "gzip": [(b"transfer-encoding", b"gzip")],
    "both": [(b"transfer-encoding", b"chunked"), (b"content-length", b"4")],
    "close": [(b"connection", b"close"), (b"content-length", b"4")],
    "keep": [(b"connection", b"keep-alive"), (b"content-length", b"4")],
    "Case": [(b"Content-Length", b"4"), (b"X-Some-Name", b" spaced\t")],
    "host": [(b"x-first", b"1"), (b"host", b"later.example"), (b"content-length", b"4")],
    "cookies": [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"content-length", b"4")],
    "date": [(b"date", b"Thu, 01 Jan 1970 00:00:00 GMT"), (b"server", b"mine"), (b"content-length", b"4")],
    "newline": [(b"x-split", b"a\r\nset-cookie: evil"), (b"content-length", b"4")],
    "nul": [(b"x-nul", b"a\0b"), (b"content-length", b"4")],
    "latin": [(b"x-latin", "Grüße".encode("latin-1")), (b"content-length", b"4")],
    "colon": [(b"x:y", b"1"), (b"content-length", b"4")],
    "space": [(b"x y", b"1"), (b"content-length", b"4")],
    "pseudo": [(b":status", b"200")],
    "empty": [(b"", b"1")],
    "novalue": [(b"x-empty", b""), (b"content-length", b"4")],
    "text": [("content-length", "4")],
    "array": [(bytearray(b"content-length"), memoryview(b"4"))],
    "upgrade": [(b"upgrade", b"websocket"), (b"content-length", b"4")],
}
ANSWERS: dict[str, Any] = {
    "": _echo, "echo": _echo, "early": _early, "disconnect": _disconnect, "chunks": _chunks, "slowly": _slowly,
    "big": _big, "status": _status, "emptystatus": _empty_status, "raises": _raises, "raiseslate": _raises_late,
    "nothing": _nothing, "startalone": _start_alone, "starttwice": _start_twice, "bodyfirst": _body_first,
    "more": _more, "trailers": _trailers, "headers": _headers,
}  # fmt: skip
