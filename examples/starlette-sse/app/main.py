"""Server-sent events: a counter that goes on where a browser that connects again has left it."""

import asyncio
import time
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

SECONDS = 10
"""A stream ends after this, so that a stop need not wait longer. EventSource then connects again by itself."""
PAGE = """<!doctype html>
<title>Events</title>
<output id="number"></output>
<script>
  new EventSource("events").onmessage = event => document.getElementById("number").textContent = event.data
</script>
"""


async def counter(number: int) -> AsyncIterator[str]:
    end = time.monotonic() + SECONDS
    yield "retry: 100\n\n"
    while time.monotonic() < end:
        number += 1
        yield f"id: {number}\ndata: {number}\n\n"
        await asyncio.sleep(0.25)


async def events(request: Request) -> Response:
    last = request.headers.get("last-event-id", "0")
    if not last.isdecimal():
        return Response("last-event-id: not a number", status_code=400)
    return StreamingResponse(counter(int(last)), media_type="text/event-stream", headers={"cache-control": "no-store"})


async def page(request: Request) -> Response:
    return HTMLResponse(PAGE)


app = Starlette(routes=[Route("/", page), Route("/events", events)])
