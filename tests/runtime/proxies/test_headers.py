"""What a proxy says of a request reaches the application and the access log, and what anybody else says does not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypercorn_image.config import options
from hypercorn_image.config.problems import Problems

from tests.runtime.h2ws import Connection
from tests.runtime.h3 import connected
from tests.runtime.launching import Launch, every_class
from tests.runtime.proxies.hostile import CASES, CLIENT, TRUSTED, Case
from tests.runtime.server import Server, connect, response

SAID = [("x-forwarded-for", f"6.6.6.6, {CLIENT}"), ("x-forwarded-proto", "https"), ("x-forwarded-prefix", "/api")]


def ask(server: Server, headers: list[tuple[str, str]], target: str = "/x%2520y") -> dict[str, Any]:
    """Send headers as they are; return what the application was told, the last Host header as `host`."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    with connect(server.address) as sock:
        sock.sendall(f"GET {target} HTTP/1.1\r\nhost: inside\r\nconnection: close\r\n{lines}\r\n".encode())
        status, _, body = response(sock)
    assert status == 200, (headers, body)
    told: dict[str, Any] = json.loads(body)
    hosts = [value for name, value in told.pop("headers") if name == "host"]
    assert len(hosts) == 1
    return {**told, "host": hosts[0]}


def changes(server: Server, case: Case) -> dict[str, Any]:
    """Return what of the scope is not as without the headers."""
    before, after = ask(server, []), ask(server, case.headers)
    if before["client"][0] == after["client"][0]:
        after["client"] = before["client"]  # another port
    return {name: value for name, value in after.items() if value != before[name]}


@pytest.mark.parametrize("http1", ["fast", "hypercorn"])
def test_what_hostile_headers_change(server: Launch, http1: str) -> None:
    with server(MODULE_NAME="scopes", FORWARDED_ALLOW_IPS=TRUSTED, HTTP1=http1, WEB_CONCURRENCY=1) as one:
        one.serving()
        found = {case.name: changes(one, case) for case in CASES}
    assert found == {case.name: case.changes for case in CASES}
    assert len(found) == len(CASES)


@pytest.mark.parametrize("allowed", ["", "192.0.2.1,2001:db8::/32,unix"])
def test_nobody_else_is_believed_and_what_they_send_stays(server: Launch, allowed: str) -> None:
    with server(MODULE_NAME="scopes", FORWARDED_ALLOW_IPS=allowed, WEB_CONCURRENCY=1) as one:
        one.serving()
        assert [case.name for case in CASES if changes(one, case)] == []
        with connect(one.address) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nhost: inside\r\nx-forwarded-for: 1.2.3.4\r\nforwarded: for=a\r\n\r\n")
            headers = json.loads(response(sock)[2])["headers"]
        assert headers == [["host", "inside"], ["x-forwarded-for", "1.2.3.4"], ["forwarded", "for=a"]]


@pytest.mark.parametrize(("allowed", "nodes"), [("*", [CLIENT]), ("*,10.0.0.0/8", [CLIENT, "10.0.0.1"])])
def test_whoever_connects_is_believed_and_no_more_than_the_proxy_has_seen(
    server: Launch, allowed: str, nodes: list[str]
) -> None:
    with server(MODULE_NAME="scopes", FORWARDED_ALLOW_IPS=allowed, WEB_CONCURRENCY=1) as one:
        one.serving()
        for made_up in ("6.6.6.6", "10.6.6.6", "unknown"):
            assert ask(one, [("x-forwarded-for", ", ".join([made_up, *nodes]))])["client"] == [CLIENT, 0]


@pytest.mark.parametrize(
    ("believed", "expected"),
    [
        ("forwarded", ["192.0.2.8", "http", ""]),
        ("x-forwarded-for", ["192.0.2.7", "http", ""]),
        ("X-Forwarded-For, X-Forwarded-Prefix", ["192.0.2.7", "http", "/api"]),
        ("x-forwarded-proto,forwarded", ["127.0.0.1", "https", ""]),
    ],
)
def test_only_the_headers_that_are_named_are_believed(server: Launch, believed: str, expected: list[str]) -> None:
    with server(
        MODULE_NAME="scopes", FORWARDED_ALLOW_IPS=TRUSTED, FORWARDED_HEADERS=believed, WEB_CONCURRENCY=1
    ) as one:
        one.serving()
        told = ask(one, [*SAID, ("forwarded", "for=192.0.2.8")])
        assert [told["client"][0], told["scheme"], told["root_path"]] == expected


@pytest.mark.every_python
@every_class
def test_over_each_protocol(server: Launch, worker_class: str, tls: dict[str, Any]) -> None:
    with server(
        MODULE_NAME="scopes", WORKER_CLASS=worker_class, FORWARDED_ALLOW_IPS="127.0.0.1", QUIC_BIND="127.0.0.1:0", **tls
    ) as one:
        one.serving()
        plain = next(url for url in one.urls() if url.startswith("http:"))
        port = int(plain.rpartition(":")[2])
        with httpx.Client(verify=False, http2=True) as h2, httpx.Client(http1=False, http2=True) as h2c:
            told = [client.get(url + "/x", headers=SAID).json() for client, url in ((h2, one.urls()[0]), (h2c, plain))]
        told.append(httpx.get(plain + "/x", headers=SAID).json())
        told.append(asyncio.run(_over_quic(("127.0.0.1", int(one.urls()[-1].rpartition(":")[2])))))
        assert [one["http"] for one in told] == ["2", "2", "1.1", "3"]
        keys = ("client", "scheme", "root_path", "path")
        assert {tuple(map(str, (one[key] for key in keys))) for one in told} == {
            (f"['{CLIENT}', 0]", "https", "/api", "/api/x")
        }
        sockets = [_websocket(("127.0.0.1", port)), _websocket_over_http_2(("127.0.0.1", port))]
        assert [[one[key] for key in ("http", *keys)] for one in sockets] == [
            ["1.1", [CLIENT, 0], "wss", "/api", "/api/"],
            ["2", [CLIENT, 0], "wss", "/api", "/api/"],
        ]
        assert one.stop() == 0
        lines = [line for line in one.log.splitlines() if '"GET /' in line]
        assert len(lines) == 6
        assert [line for line in lines if f" {CLIENT} - - [" not in line or '"GET /api/' not in line] == []


async def _over_quic(address: tuple[str, int]) -> dict[str, Any]:
    async with connected(address) as session:
        return dict(json.loads((await session.get("/x", SAID))[1]))


def _websocket(address: tuple[str, int]) -> dict[str, Any]:
    from websockets.sync.client import connect as ws_connect

    with ws_connect(f"ws://{address[0]}:{address[1]}/", additional_headers=SAID) as session:
        return dict(json.loads(session.recv()))


def _websocket_over_http_2(address: tuple[str, int]) -> dict[str, Any]:
    with connect(address) as sock:
        client = Connection(sock)
        client.open_websocket(SAID)
        client.run_until(lambda: bool(client.received))
        return dict(json.loads(client.received[0]))


@pytest.mark.every_python
@every_class
def test_wsgi_and_the_access_log_in_json(server: Launch, worker_class: str) -> None:
    with server(
        APP_MODULE="scopes:wsgi", WORKER_CLASS=worker_class, FORWARDED_ALLOW_IPS="127.0.0.1", LOG_FORMAT="json"
    ) as one:
        one.serving()
        headers = [*SAID, ("x-forwarded-host", "example.com:8443")]
        told = httpx.get(f"http://{one.address[0]}:{one.address[1]}/x", headers=headers).json()
        names = (
            "REMOTE_ADDR",
            "wsgi.url_scheme",
            "SCRIPT_NAME",
            "PATH_INFO",
            "SERVER_NAME",
            "SERVER_PORT",
            "HTTP_HOST",
        )
        assert [told[name] for name in names] == [
            CLIENT, "https", "/api", "/x", "example.com", 8443, "example.com:8443",
        ]  # fmt: skip
        one.wait_log('"message": "request"')
        line = next(json.loads(line) for line in one.log.splitlines() if '"message": "request"' in line)
        assert [line[name] for name in ("client", "scheme", "path", "host")] == [
            CLIENT, "https", "/api/x", "example.com:8443",
        ]  # fmt: skip


@every_class
@pytest.mark.parametrize(("allowed", "client"), [("unix", [CLIENT, 0]), ("127.0.0.1", None)])
def test_who_connects_to_a_unix_socket(
    server: Launch, worker_class: str, tmp_path: Path, allowed: str, client: list[Any] | None
) -> None:
    path = tmp_path / "socket"
    settings = {"WORKER_CLASS": worker_class, "FORWARDED_ALLOW_IPS": allowed, "BIND": f"unix:{path}"}
    with server(MODULE_NAME="scopes", **settings) as one:
        one.serving()
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as session:
            told = session.get("http://inside/", headers=[*SAID, ("x-forwarded-port", "81")]).json()
        assert told["client"] == client
        assert told["server"] == (["inside", 81] if client else None)


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("FORWARDED_ALLOW_IPS", "localhost"),
        ("FORWARDED_ALLOW_IPS", "10.0.0.1/8"),
        ("FORWARDED_ALLOW_IPS", "10.0.0.1,"),
        ("FORWARDED_ALLOW_IPS", "10.0.0.0/33"),
        ("FORWARDED_HEADERS", "x-real-ip"),
    ],
)
def test_what_is_not_allowed_is_one_line(variable: str, text: str) -> None:
    found = Problems()
    options.read_environment({variable: text}, found)
    assert [
        line.startswith(f"{variable}={text!r} is not allowed: a comma-separated list of") for line in found.lines
    ] == [True]
