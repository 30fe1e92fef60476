"""The application behind nginx, HAProxy and Caddy, configured as docs/behind-a-proxy.md says; the client lies."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.conftest import REPOSITORY
from tests.runtime.launching import Launch, every_class
from tests.runtime.proxies.programs import DOCUMENT, Files, Proxy, caddy, haproxy, nginx
from tests.runtime.server import unverified_tls

Run = Callable[[Path, tuple[str, int], Files], AbstractContextManager[Proxy]]
CLIENT = "127.0.0.9"
LIES = {
    "X-Forwarded-For": "6.6.6.6",
    "X-Forwarded-Proto": "gopher",
    "X-Forwarded-Host": "evil.test:666",
    "X-Forwarded-Port": "666",
    "X-Forwarded-Prefix": "/evil",
    "Forwarded": "for=6.6.6.6;proto=gopher;host=evil.test",
}
HAPROXY = "x-forwarded-for,x-forwarded-proto"
NGINX = f"{HAPROXY},x-forwarded-host,x-forwarded-prefix"
CADDY = f"{HAPROXY},x-forwarded-host"


def get(address: tuple[str, int], scheme: str, path: str = "/x") -> dict[str, Any]:
    """Ask as a client that lies."""
    transport = httpx.HTTPTransport(local_address=CLIENT, verify=False)
    with httpx.Client(transport=transport, timeout=30) as session:
        answer = session.get(f"{scheme}://{address[0]}:{address[1]}{path}", headers=LIES)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def open_websocket(address: tuple[str, int]) -> dict[str, Any]:
    """Open a WebSocket over TLS, as a client that lies.

    Not with the client that has threads: before Python 3.13 two of them may not use a TLS connection at once.
    """

    async def told() -> dict[str, Any]:
        sock = socket.create_connection(address, source_address=(CLIENT, 0))
        sock.setblocking(False)
        url = f"wss://{address[0]}:{address[1]}/"
        async with connect(url, sock=sock, ssl=unverified_tls(), additional_headers=LIES, open_timeout=30) as session:
            return dict(json.loads(await session.recv()))

    return asyncio.run(told())


@every_class
@pytest.mark.parametrize(
    ("run", "headers", "http1"),
    [
        pytest.param(nginx, NGINX, "fast", id="nginx"),
        pytest.param(nginx, NGINX, "hypercorn", id="nginx, HTTP1=hypercorn"),
        pytest.param(haproxy, HAPROXY, "fast", id="HAProxy"),
        pytest.param(partial(haproxy, words={"app:80": "app:80 proto h2"}), HAPROXY, "fast", id="HAProxy, h2c"),
        pytest.param(partial(haproxy, number=1), "forwarded", "fast", id="HAProxy, Forwarded"),
        pytest.param(caddy, CADDY, "fast", id="Caddy"),
    ],
)
def test_the_application_is_told_of_the_client_and_not_what_it_makes_up(
    server: Launch, tmp_path: Path, files: Files, worker_class: str, run: Run, headers: str, http1: str
) -> None:
    settings = {"WORKER_CLASS": worker_class, "HTTP1": http1, "FORWARDED_HEADERS": headers}
    with server(MODULE_NAME="scopes", FORWARDED_ALLOW_IPS="127.0.0.1", **settings) as one:
        one.serving()
        with run(tmp_path, one.address, files) as proxy:
            told = [
                (proxy.secure, get(proxy.secure, "https"), "https"),
                (proxy.secure, open_websocket(proxy.secure), "wss"),
            ]
            if proxy.plain is not None:
                told.append((proxy.plain, get(proxy.plain, "http"), "http"))
        for (host, port), scope, scheme in told:
            assert (scope["client"][0], scope["scheme"], scope["root_path"]) == (CLIENT, scheme, "")
            assert ["host", f"{host}:{port}"] in scope["headers"]
            if "x-forwarded-host" in headers:
                assert scope["server"] == [host, port]
        assert one.stop() == 0
        assert f"[INFO] {CLIENT} - - [" in one.log
        assert "evil" not in one.log
        assert "6.6.6.6" not in one.log


def test_nginx_removes_a_prefix_and_says_so(server: Launch, tmp_path: Path, files: Files) -> None:
    with server(MODULE_NAME="scopes", FORWARDED_ALLOW_IPS="127.0.0.1", FORWARDED_HEADERS=NGINX) as one:
        one.serving()
        with nginx(tmp_path, one.address, files) as proxy:
            scope = get(proxy.secure, "https", "/api/x")
        assert [scope[name] for name in ("root_path", "path", "raw_path")] == ["/api", "/api/x", "/api/x"]


@pytest.mark.parametrize("headers", [NGINX, HAPROXY, CADDY, "forwarded"])
def test_the_document_names_the_headers_that_a_proxy_writes(headers: str) -> None:
    text = (REPOSITORY / DOCUMENT).read_text(encoding="utf-8")
    assert re.search(rf"`FORWARDED_HEADERS={re.escape(headers)}`", text)
