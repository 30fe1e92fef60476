"""The PROXY protocol: whose connection it is, said by those who may, also before TLS; everything else is refused."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypercorn_image.worker.proxy_protocol import header

from tests.runtime import haproxy as load_balancer
from tests.runtime.launching import Launch, every_class
from tests.runtime.load import Load
from tests.runtime.proxies.programs import Files, haproxy
from tests.runtime.proxies.test_programs import CLIENT, LIES, get, open_websocket
from tests.runtime.server import RUNTIME, connect, response, wait_for

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
REQUEST = b"GET /x HTTP/1.1\r\nhost: inside\r\nconnection: close\r\n"


def version_2(command: int, family: int, body: bytes, length: int | None = None) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body) if length is None else length) + body


def addresses(family: int, client: str, server: str) -> bytes:
    return socket.inet_pton(family, client) + socket.inet_pton(family, server) + struct.pack("!HH", 4711, 443)


IPV4 = addresses(socket.AF_INET, "192.0.2.7", "192.0.2.1")
IPV6 = addresses(socket.AF_INET6, "2001:db8::7", "2001:db8::1")
SAID = {"client": ["192.0.2.7", 4711], "server": ["192.0.2.1", 443]}
SAID_6 = {"client": ["2001:db8::7", 4711], "server": ["2001:db8::1", 443]}
PROXYS: dict[str, Any] = {}
"""Nothing is said: the addresses are the proxy's."""
TLV = b"\x04\x00\x03abc"

GOOD = {
    b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n": SAID,
    b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n": SAID_6,
    b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.1 4711 443\r\n": SAID,
    b"PROXY UNKNOWN\r\n": PROXYS,
    b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n": PROXYS,
    version_2(0x21, 0x11, IPV4): SAID,
    version_2(0x21, 0x21, IPV6): SAID_6,
    version_2(0x21, 0x11, IPV4 + TLV * 500): SAID,
    version_2(0x20, 0x11, IPV4): PROXYS,
    version_2(0x20, 0x00, b""): PROXYS,
    version_2(0x21, 0x00, b"anything"): PROXYS,
    version_2(0x21, 0x31, b"/" * 216): PROXYS,
    version_2(0x21, 0x12, IPV4): PROXYS,
}
BAD = {
    "none": b"",
    "a word that is nearly it": b"PROXX TCP4 192.0.2.7 192.0.2.1 4711 443\r\n",
    "no addresses": b"PROXY TCP4\r\n           \r\n",
    "another family": b"PROXY TCP5 192.0.2.7 192.0.2.1 4711 443\r\n",
    "no IP address": b"PROXY TCP4 192.0.2.999 192.0.2.1 4711 443\r\n",
    "a port above 65535": b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 65536\r\n",
    "too many words": b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443 1\r\n",
    "two spaces": b"PROXY TCP4  192.0.2.7 192.0.2.1 4711 443\r\n",
    "a line feed alone": b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\n" + b"x" * 100,
    "a line that is too long": b"PROXY UNKNOWN " + b"x" * 100 + b"\r\n",
    "a version 3": version_2(0x31, 0x11, IPV4),
    "an unknown command": version_2(0x22, 0x11, IPV4),
    "addresses that are too short": version_2(0x21, 0x11, IPV4[:-1]),
    "a header that is too long": version_2(0x21, 0x11, IPV4 + b"\0" * 4096),
    "a length that is too long": version_2(0x21, 0x11, IPV4, 65535),
}


def ask(address: tuple[str, int] | str, *pieces: bytes, more: bytes = b"") -> dict[str, Any] | None:
    """Send pieces, and a request with `more` headers; return what the application was told, None where it is closed."""
    with connect(address) as sock:
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(ConnectionError, EOFError):
            for piece in pieces:
                sock.sendall(piece)
            sock.sendall(REQUEST + more + b"\r\n")
            status, _, body = response(sock)
            return dict(json.loads(body)) if status == 200 else {"status": status}
    return None


@pytest.mark.every_python
@every_class
def test_what_headers_say(server: Launch, worker_class: str) -> None:
    settings = {"FORWARDED_ALLOW_IPS": "127.0.0.1", "PROXY_PROTOCOL": "true", "WORKER_CLASS": worker_class}
    with server(MODULE_NAME="scopes", WEB_CONCURRENCY=1, **settings) as one:
        one.serving()
        host, port = one.address
        for data, said in GOOD.items():
            expected = {"client": ["127.0.0.1"], "server": [host, port], "path": "/x", **said}
            for pieces in ([data], [*(data[i : i + 1] for i in range(100)), data[100:]]):
                told = ask(one.address, *pieces) or {}
                if not said:
                    told["client"] = told["client"][:1]
                assert {name: told.get(name) for name in expected} == expected, data
        assert {name: ask(one.address, data) for name, data in BAD.items()} == dict.fromkeys(BAD)
        assert "Traceback" not in one.log
        lines = [line for line in one.log.splitlines() if "(PROXY_PROTOCOL)" in line]
        assert len(lines) == 4, "once for each reason"
        assert all("Connection from 127.0.0.1 closed: " in line for line in lines)
        assert one.stop() == 0


@every_class
def test_others_are_served_as_ever_and_have_nothing_to_say(server: Launch, worker_class: str) -> None:
    settings = {"FORWARDED_ALLOW_IPS": "192.0.2.1", "PROXY_PROTOCOL": "true", "WORKER_CLASS": worker_class}
    with server(MODULE_NAME="scopes", **settings) as one:
        one.serving()
        told = ask(one.address) or {}
        assert (told["client"][0], told["server"]) == ("127.0.0.1", list(one.address))
        for data in GOOD:
            assert (ask(one.address, data) or {"status": 400}) == {"status": 400}


@every_class
def test_a_header_that_does_not_come(server: Launch, worker_class: str) -> None:
    settings = {"FORWARDED_ALLOW_IPS": "*", "PROXY_PROTOCOL": "true", "WORKER_CLASS": worker_class}
    with server(MODULE_NAME="scopes", WEB_CONCURRENCY=1, **settings) as one:
        one.serving()
        with connect(one.address) as silent, connect(one.address) as slow:
            slow.sendall(b"PROXY TCP4 192.0")
            assert ask(one.address, version_2(0x21, 0x11, IPV4)), "others are not held up"
            assert silent.recv(1) == b""
            assert slow.recv(1) == b""
        one.wait_log("Connection from 127.0.0.1 closed: no PROXY header came in time (PROXY_PROTOCOL)")
        connect(one.address).close()
        assert one.stop() == 0
        assert one.log.count("(PROXY_PROTOCOL)") == 1


@every_class
def test_headers_of_http_are_believed_of_a_client_in_the_list_only(server: Launch, worker_class: str) -> None:
    settings = {"FORWARDED_ALLOW_IPS": "*,192.0.2.7", "PROXY_PROTOCOL": "true", "WORKER_CLASS": worker_class}
    with server(MODULE_NAME="scopes", **settings) as one:
        one.serving()
        more = b"x-forwarded-for: 198.51.100.1\r\n"
        for client, told in (("192.0.2.7", "198.51.100.1"), ("192.0.2.8", "192.0.2.8")):
            answer = ask(one.address, f"PROXY TCP4 {client} 192.0.2.1 4711 443\r\n".encode(), more=more) or {}
            assert answer["client"][0] == told


@every_class
def test_over_a_unix_socket(server: Launch, worker_class: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    settings = {"FORWARDED_ALLOW_IPS": "unix", "PROXY_PROTOCOL": "true", "WORKER_CLASS": worker_class}
    with server(MODULE_NAME="scopes", BIND=f"unix:{path}", **settings) as one:
        one.serving()
        assert {
            name: (ask(str(path), b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n") or {}).get(name) for name in SAID
        } == SAID
        assert (ask(str(path), b"PROXY UNKNOWN\r\n") or {})["client"] is None
        assert ask(str(path)) is None
        one.wait_log("Connection from a unix socket closed: it does not begin with a PROXY header (PROXY_PROTOCOL)")


@every_class
@pytest.mark.parametrize("word", ["send-proxy", "send-proxy-v2"])
def test_haproxy_passes_tls_on(
    server: Launch, tmp_path: Path, files: Files, tls: dict[str, Any], worker_class: str, word: str
) -> None:
    settings = {"FORWARDED_ALLOW_IPS": "127.0.0.1", "PROXY_PROTOCOL": "true", "WORKER_CLASS": worker_class, **tls}
    with server(MODULE_NAME="scopes", **settings) as one:
        one.serving()
        assert one.urls()[0].startswith("https")
        with haproxy(tmp_path, one.address, files, 2, {"send-proxy-v2": word}) as proxy:
            told = [get(proxy.secure, "https"), open_websocket(proxy.secure)]
            transport = httpx.HTTPTransport(local_address=CLIENT, verify=False, http2=True, http1=False)
            with httpx.Client(transport=transport) as session:
                told.append(session.get(f"https://127.0.0.1:{proxy.secure[1]}/x", headers=LIES).json())
            assert ssl.get_server_certificate(proxy.secure)
        assert [one["http"] for one in told] == ["1.1", "1.1", "2"]
        assert [[one["client"][0], one["server"], one["scheme"]] for one in told] == [
            [CLIENT, list(proxy.secure), scheme] for scheme in ("https", "wss", "https")
        ]
        assert one.stop() == 0
        assert "Traceback" not in one.log


@every_class
def test_no_request_is_lost_while_workers_are_replaced(server: Launch, tmp_path: Path, worker_class: str) -> None:
    settings = {"FORWARDED_ALLOW_IPS": "127.0.0.1", "PROXY_PROTOCOL": "true", "WORKER_CLASS": worker_class}
    with server(ACCESS_LOG="", **settings) as one:
        one.serving()
        check = "send-proxy-v2 check inter 100ms fall 1 rise 1"
        with load_balancer.haproxy(tmp_path, [one.address], check) as path, Load(path, keep_alive=False) as load:
            for done in range(1, 4):
                goal = load.counts["answered"] + 200
                wait_for(lambda goal=goal: load.counts["answered"] > goal, "answers")
                one.kill(signal.SIGHUP)
                one.wait_log("Reload complete", done)
            load.finish()
        assert (load.lost, load.failures) == (0, [])
        assert one.stop() == 0
        assert "Traceback" not in one.log


@every_class
def test_a_header_that_comes_while_the_worker_leaves(server: Launch, worker_class: str, tmp_path: Path) -> None:
    settings = {"FORWARDED_ALLOW_IPS": "127.0.0.1", "PROXY_PROTOCOL": "true", "WORKER_CLASS": worker_class}

    def served() -> bool:
        (tmp_path / "app" / "log").unlink(missing_ok=True)
        with server(**settings) as one, connect(one.serving().address) as sock, suppress(ConnectionError, EOFError):
            sock.sendall(b"PROXY ")
            one.kill(signal.SIGTERM)
            one.wait_log("stopping")
            sock.sendall(b"UNKNOWN\r\n" + REQUEST + b"\r\n")
            return response(sock)[0] == 200
        return False

    wait_for(served, "answer")  # a worker waits for a second, which may be too short on a busy machine


@pytest.mark.parametrize("allowed", ["*", "192.0.2.1"])
@pytest.mark.parametrize("path", ["", "/x"])
def test_the_health_check_is_a_proxy_where_it_has_to(server: Launch, tmp_path: Path, allowed: str, path: str) -> None:
    settings = {"FORWARDED_ALLOW_IPS": allowed, "PROXY_PROTOCOL": "true", "HEALTHCHECK_PATH": path}
    with server(MODULE_NAME="scopes", **settings) as one:
        one.serving()
        command = [sys.executable, "-IS", str(RUNTIME / "opt/hypercorn/healthcheck.py")]
        environ = {**os.environ, "STATE_DIRECTORY": str(tmp_path / "app")}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "")


def test_nobody_is_named(server: Launch) -> None:
    with server(PROXY_PROTOCOL="true") as one:
        assert one.wait() == 1
        assert "error: PROXY_PROTOCOL is set but FORWARDED_ALLOW_IPS is not: name the proxies" in one.log


def test_never_a_byte_behind_the_header_is_asked_for() -> None:
    for data in GOOD:
        read = b""
        while wanted := header.wanted(read):
            assert len(read) + wanted <= len(data)
            read = data[: len(read) + wanted]
        assert read == data
