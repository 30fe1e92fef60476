"""The application without a framework: answers of three sizes, the size of an upload, an echo for WebSocket."""

BODIES = {"/10b": b"x" * 10, "/10k": b"x" * 10_000, "/1m": b"x" * 1_000_000}


async def app(scope, receive, send):
    await SERVED[scope["type"]](scope, receive, send)


async def lifespan(scope, receive, send):
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def http(scope, receive, send):
    body = BODIES.get(scope["path"])
    if body is None:
        body = b"%d" % await uploaded(receive)
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def uploaded(receive):
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    return size


async def websocket(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        await send({"type": "websocket.send", "text": message["text"]})


SERVED = {"lifespan": lifespan, "http": http, "websocket": websocket}
