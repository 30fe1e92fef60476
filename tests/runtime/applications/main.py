"""The application that the launcher's tests serve: slow, crashing, chatty on demand; notes what happens to it.

Runs on every Python of the matrix, on asyncio and trio, so it is written without dependencies.
"""

import asyncio
import json
import os
import signal
import sys
import time
from urllib.parse import parse_qs

EVENTS = os.environ.get("EVENTS", os.devnull)
RELEASE = EVENTS + ".release"


def note(what):
    """Append a line to the file of events: a whole line at once, so that processes do not mix theirs."""
    with open(EVENTS, "ab", buffering=0) as file:
        file.write(f"{what} {os.getpid()}\n".encode())


note("imported")
if os.environ.get("IMPORT_SECONDS"):
    time.sleep(float(os.environ["IMPORT_SECONDS"]))


async def sleep(seconds):
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        import trio

        await trio.sleep(seconds)
    else:
        await asyncio.sleep(seconds)


async def app(scope, receive, send):
    await {"lifespan": lifespan, "http": http, "websocket": websocket}[scope["type"]](scope, receive, send)


async def lifespan(scope, receive, send):
    await receive()
    if os.environ.get("LIFESPAN") == "fail":
        await send({"type": "lifespan.startup.failed", "message": "the database is away"})
        return
    if os.environ.get("LIFESPAN") == "raise":
        raise RuntimeError("the database is away")
    if os.path.exists(EVENTS + ".fail-lifespan"):
        await send({"type": "lifespan.startup.failed", "message": "told so by a file"})
        return
    note("starting")
    await sleep(float(os.environ.get("STARTUP_SECONDS", "0")))
    scope["state"]["value"] = "from the lifespan"
    note("startup")
    await send({"type": "lifespan.startup.complete"})
    await receive()
    note("shutdown")
    await send({"type": "lifespan.shutdown.complete"})


async def http(scope, receive, send):
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    path = scope["path"]
    status = 200
    while path != "/upload-ignored":
        message = await receive()
        if not message.get("more_body"):
            break
    if path == "/slow":
        note("slow")
        await sleep(float(query.get("seconds", "1")))
    elif path == "/held":
        note("slow")
        while not os.path.exists(RELEASE):
            await sleep(0.02)
    elif path == "/crash":
        note("crash")
        os.kill(os.getpid(), getattr(signal, query.get("signal", "SIGKILL")))
    elif path == "/sys-exit":
        sys.exit(query.get("message") or int(query.get("status", "3")))
    elif path == "/exit":
        os._exit(int(query.get("status", "0")))
    elif path == "/orphan":
        if os.fork() == 0:
            if os.fork() == 0:
                os.execvp("sleep", ["sleep", "0.2"])
            os._exit(0)
        os.wait()
    elif path == "/stream":
        await stream(query, send)
        return
    elif path == "/missing":
        status = 404
    size = int(query.get("size", "0"))
    body = (
        b"x" * size
        if size
        else json.dumps(
            {
                "pid": os.getpid(),
                "parent": os.getppid(),
                "python": sys.version_info[:2],
                "http": scope["http_version"],
                "scheme": scope["scheme"],
                "root_path": scope["root_path"],
                "state": scope.get("state", {}).get("value"),
                "marker": os.environ.get("MARKER"),
            }
        ).encode()
    )
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def stream(query, send):
    """Answer with `pieces` of `size` bytes each, `seconds` apart."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for _ in range(int(query["pieces"])):
        await send({"type": "http.response.body", "body": b"x" * int(query["size"]), "more_body": True})
        await sleep(float(query["seconds"]))
    await send({"type": "http.response.body", "body": b""})


async def websocket(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    note("accepted")
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            note("disconnected")
            return
        await send({"type": "websocket.send", "text": "echo " + (message.get("text") or "")})


class Asgi2:
    """An ASGI 2 application."""

    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        await app(self.scope, receive, send)


def asgi2_function(scope):
    async def instance(receive, send):
        await app(scope, receive, send)

    return instance


def wsgi(environ, start_response):
    """A WSGI application."""
    if environ["PATH_INFO"] == "/slow":
        note("slow")
        time.sleep(float(parse_qs(environ["QUERY_STRING"])["seconds"][0]))
    if environ["PATH_INFO"] == "/held":
        note("slow")
        while not os.path.exists(RELEASE):
            time.sleep(0.02)
    if environ["PATH_INFO"] == "/sys-exit":
        sys.exit(3)
    if environ["PATH_INFO"] == "/empty":
        start_response("204 No Content", [])
        return []
    body = json.dumps({"wsgi": True, "pid": os.getpid()}).encode()
    start_response("200 OK", [("content-type", "application/json"), ("content-length", str(len(body)))])
    return [body]


not_an_application = 3


async def block(scope, receive, send):
    """Block the loop for a while at the first request, as code that computes does."""
    if scope["type"] == "http" and scope["path"] == "/":
        note("blocking")
        time.sleep(0.7)
    await app(scope, receive, send)


async def hang(scope, receive, send):
    if scope["type"] == "http":
        note("hanging")
        time.sleep(600)
    await app(scope, receive, send)
