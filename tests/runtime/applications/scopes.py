"""Applications that answer with what they are told of the request: ASGI with its scope, WSGI with its environ."""

import json

NAMES = ("client", "server", "scheme", "root_path", "path")


def told(scope):
    """Return the part of a scope that a proxy can change, as JSON."""
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    raw_path = scope["raw_path"].decode() if scope.get("raw_path") is not None else None
    found = {"http": scope["http_version"], "raw_path": raw_path, "headers": headers}
    return json.dumps({**found, **{name: scope[name] for name in NAMES}})


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": told(scope)})
        while (await receive())["type"] != "websocket.disconnect":
            pass
    else:
        body = told(scope).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def wsgi(environ, start_response):
    body = json.dumps({name: value for name, value in environ.items() if isinstance(value, (str, int))}).encode()
    start_response("200 OK", [("content-type", "application/json"), ("content-length", str(len(body)))])
    return [body]
