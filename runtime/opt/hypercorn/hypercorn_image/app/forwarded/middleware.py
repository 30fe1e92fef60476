# SPDX-License-Identifier: MIT
"""Changes the scope of a request to what the client has sent to the proxy."""

import re
from typing import Any, Dict, Iterable, List, Optional, Tuple

from hypercorn_image.app.forwarded import said
from hypercorn_image.app.forwarded.addresses import Proxies
from hypercorn_image.app.forwarded.said import Said

_SECURE = {"http": False, "ws": False, "https": True, "wss": True}
_SCHEMES = {("http", False): "http", ("http", True): "https", ("websocket", False): "ws", ("websocket", True): "wss"}
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::([0-9]{1,5}))?")
_PORT = re.compile(r"[0-9]{1,5}")
# Applications write it into their pages, so it has no characters that mean something in HTML.
_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~-]+)+")


class Forwarded:
    """An ASGI 3 application around another one. It changes the scope in place, so that the access log shows the same.

    `headers` has the names of the headers that are read. Those of an untrusted peer are ignored. With `proxy_protocol`,
    the scope's client is the one in the PROXY header, and may be anybody. So it must be in the list itself.
    """

    def __init__(self, application: Any, proxies: Proxies, headers: Iterable[str], proxy_protocol: bool) -> None:
        self._application = application
        self._proxies = proxies
        self._trusts = proxies.lists if proxy_protocol else proxies.trusts
        self._names = {name.encode() for name in headers}

    async def __call__(self, scope: Dict[str, Any], receive: Any, send: Any) -> None:
        """Serve one request, WebSocket or lifespan."""
        if scope["type"] != "lifespan" and self._trusts(scope["client"]):
            found = self._find(scope["headers"])
            if found:
                apply(scope, said.read(found, self._proxies))
        await self._application(scope, receive, send)

    def _find(self, headers: Iterable[Tuple[bytes, bytes]]) -> Dict[bytes, List[str]]:
        found: Dict[bytes, List[str]] = {}
        for name, value in headers:
            lowered = name.lower()
            if lowered in self._names:
                found.setdefault(lowered, []).append(value.decode("latin-1"))
        return found


def apply(scope: Dict[str, Any], what: Said) -> None:
    """Change `scope` to what is said. Values that are not allowed are skipped."""
    if what.client is not None:
        scope["client"] = what.client
    secure = _SECURE.get(what.proto.lower())
    if secure is not None:
        scope["scheme"] = _SCHEMES[scope["type"], secure]
    if what.host or what.port:
        _apply_host(scope, what)
    if what.prefix:
        _apply_prefix(scope, what.prefix.rstrip("/"))


def _apply_host(scope: Dict[str, Any], what: Said) -> None:
    """Change the server and the Host header, from which applications make their links."""
    said_host, said_port = _HOST.fullmatch(what.host), _port(what.port)
    if said_host is None and said_port is None:
        return
    host = said_host or _HOST.fullmatch(_host_header(scope))
    if host is None:
        return
    default = 443 if scope["scheme"] in ("https", "wss") else 80
    port = said_port or (_port(host[2]) if said_host else None) or default
    scope["server"] = (host[1].strip("[]"), port)
    authority = host[1] if port == default else f"{host[1]}:{port}"
    others = [pair for pair in scope["headers"] if pair[0].lower() != b"host"]
    scope["headers"] = [(b"host", authority.encode("ascii")), *others]


def _port(text: Optional[str]) -> Optional[int]:
    return int(text) if text and _PORT.fullmatch(text) and 0 < int(text) < 65536 else None


def _host_header(scope: Dict[str, Any]) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"host"), "")


def _apply_prefix(scope: Dict[str, Any], prefix: str) -> None:
    """Add the prefix that the proxy has removed from the path: ASGI's path begins with the root path."""
    if not _PREFIX.fullmatch(prefix) or not scope["path"].startswith("/"):
        return
    scope["root_path"] = prefix
    scope["path"] = prefix + scope["path"]
    if scope.get("raw_path") is not None:
        scope["raw_path"] = prefix.encode("ascii") + scope["raw_path"]
