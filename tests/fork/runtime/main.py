"""The application that the image starts with: says which server answers."""

import uvicorn


async def app(scope, receive, send):
    """Answer every request with the server's name and version."""
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": f"uvicorn {uvicorn.__version__}\n".encode()})
