# SPDX-License-Identifier: MIT
"""The demo application: what an unmodified image answers. Mount or copy your own over /app."""

import json
import platform

try:
    from importlib.metadata import version

    SERVER = version("hypercorn")
except Exception:
    SERVER = "unknown"

PYTHON = platform.python_version()
try:
    with open("/opt/hypercorn/image.json", encoding="utf-8") as _file:
        _found = json.load(_file)
        IMAGE = f"{_found['image']}:{_found['tag']}"
except (OSError, ValueError, KeyError):
    IMAGE = "hypercorn"

TEXT = json.dumps(
    {
        "message": f"Hello from {IMAGE}. Put your own application into /app.",
        "image": IMAGE,
        "python": PYTHON,
        "hypercorn": SERVER,
    }
).encode()


async def app(scope, receive, send):  # type: ignore[no-untyped-def]
    """Answer `GET /` with what this image is, anything else with status 404."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] != "http":
        await send({"type": "websocket.close"})
        return
    found = scope["path"] == "/"
    body = TEXT if found else b'{"message": "Not found"}'
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200 if found else 404, "headers": headers})
    await send({"type": "http.response.body", "body": body})
