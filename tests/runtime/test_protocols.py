"""HTTP/1.1, HTTP/2, HTTP/3 and WebSocket through the launcher, also while it stops and replaces workers."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from websockets.sync.client import connect as ws_connect

from tests.runtime.certificates import Authority
from tests.runtime.h2client import fetch_all
from tests.runtime.h3 import connected
from tests.runtime.launching import Launch, every_class
from tests.runtime.server import LIMIT, RUNTIME, Server, connect, request


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certificates")


def tls(authority: Authority, **more: Any) -> dict[str, Any]:
    return {**authority.tls(), **more}


def client(authority: Authority, **options: Any) -> httpx.Client:
    context = ssl.create_default_context(cafile=str(authority.ca))
    return httpx.Client(verify=context, timeout=LIMIT, **options)


def secure(one: Server) -> str:
    return next(url for url in one.urls() if url.startswith("https")).replace("127.0.0.1", "localhost")


def quic_address(one: Server) -> tuple[str, int]:
    url = [url for url in one.urls() if url.startswith("https")][-1]
    return "127.0.0.1", int(url.rpartition(":")[2])


@pytest.mark.every_python
@every_class
def test_tls_with_http_1_and_2_and_plain_beside_it(server: Launch, authority: Authority, worker_class: str) -> None:
    with server(WORKER_CLASS=worker_class, **tls(authority)) as one:
        one.serving()
        with client(authority, http2=True) as h2, client(authority) as h1:
            assert h2.get(secure(one)).http_version == "HTTP/2"
            answer = h1.get(secure(one))
            assert (answer.http_version, answer.json()["scheme"]) == ("HTTP/1.1", "https")
        plain = next(url for url in one.urls() if url.startswith("http:"))
        assert httpx.get(plain).json()["scheme"] == "http"
        with httpx.Client(http1=False, http2=True) as h2c:
            assert h2c.get(plain).http_version == "HTTP/2", "h2c with prior knowledge"
        assert one.stop() == 0
        assert "Traceback" not in one.log


@pytest.mark.every_python
@every_class
def test_http_2_requests_in_progress_are_answered(server: Launch, authority: Authority, worker_class: str) -> None:
    with server(WORKER_CLASS=worker_class, **tls(authority)) as one, ThreadPoolExecutor(1) as pool:
        one.serving()
        paths = ["/slow?seconds=0.7&size=200000"] * 20
        answers = pool.submit(fetch_all, ("127.0.0.1", int(secure(one).rpartition(":")[2])), paths, tls=True)
        one.wait_events("slow", 20)
        assert one.stop() == 0
        assert answers.result() == [200000] * 20
        assert "Traceback" not in one.log


@every_class
def test_an_http_2_connection_is_good_for_many_requests(server: Launch, worker_class: str) -> None:
    with server(WORKER_CLASS=worker_class, ACCESS_LOG="") as one:
        one.serving()
        assert fetch_all(one.address, ["/?size=10"] * 1500) == [10] * 1500


@every_class
def test_idle_tls_connections_do_not_hold_up_a_stop(server: Launch, authority: Authority, worker_class: str) -> None:
    with server(WORKER_CLASS=worker_class, KEEP_ALIVE=60, **tls(authority)) as one:
        one.serving()
        with client(authority) as h1, client(authority, http2=True) as h2:
            h1.get(secure(one))
            h2.get(secure(one))
            assert one.stop() == 0  # neither client reads, or answers the close_notify


@every_class
def test_client_certificates_are_required_with_ca_certs(
    server: Launch, authority: Authority, worker_class: str
) -> None:
    with server(WORKER_CLASS=worker_class, CA_CERTS=authority.ca, **tls(authority)) as one:
        one.serving()
        with (
            client(authority) as without,
            pytest.raises((httpx.ReadError, httpx.RemoteProtocolError, httpx.ConnectError)),
        ):
            without.get(secure(one))
        context = ssl.create_default_context(cafile=str(authority.ca))
        context.load_cert_chain(*authority.issue("client", "client"))
        assert httpx.get(secure(one), verify=context).status_code == 200


@every_class
def test_every_worker_resumes_the_tls_sessions_of_the_others(
    server: Launch, authority: Authority, worker_class: str
) -> None:
    context = ssl.create_default_context(cafile=str(authority.ca))
    with server(WORKER_CLASS=worker_class, WEB_CONCURRENCY=4, **tls(authority)) as one:
        one.serving()
        address = ("127.0.0.1", int(secure(one).rpartition(":")[2]))

        def ask(session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool | None, int]:
            with context.wrap_socket(connect(address), server_hostname="localhost", session=session) as sock:
                pid = json.loads(request(address, sock=sock)[2])["pid"]
                return sock.session, sock.session_reused, pid

        session, resumed, _ = ask(None)
        assert not resumed
        answers = [ask(session) for _ in range(40)]
        assert all(resumed for _, resumed, _ in answers)
        assert len({pid for _, _, pid in answers}) > 1
        assert one.stop() == 0


def test_sighup_picks_up_a_renewed_certificate(server: Launch, authority: Authority) -> None:
    def serial(one: Server) -> str:
        host, port = "127.0.0.1", int(secure(one).rpartition(":")[2])
        return ssl.get_server_certificate((host, port))

    with server(**tls(authority)) as one:
        one.serving()
        first = serial(one)
        authority.issue()
        assert serial(one) == first
        one.kill(signal.SIGHUP)
        one.wait_log("Reload complete")
        assert serial(one) != first
        (authority.directory / "server.pem").write_text("no certificate")
        one.kill(signal.SIGHUP)
        one.wait_log("Reload failed, keeping current workers")
        assert "TLS cannot be set up" in one.log
        assert serial(one) != first
        assert one.log.count("Traceback") == 0


@pytest.mark.parametrize("worker_class", ["asyncio", "trio"])
def test_a_bad_certificate_is_one_clear_line(server: Launch, authority: Authority, worker_class: str) -> None:
    settings = tls(authority, WORKER_CLASS=worker_class)
    Path(settings["CERTFILE"]).write_text("no certificate")
    with server(**settings) as one:
        assert one.wait() == 1
        assert [line for line in one.log.splitlines() if "error:" in line and "TLS cannot be set up" in line]
        assert "Traceback" not in one.log


def test_an_encrypted_key(server: Launch, authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue(password=b"a secret")
    (tmp_path / "secret").write_text("a secret\n")
    settings = {**tls(authority), "CERTFILE": certificate, "KEYFILE": key}
    authority.issue(password=b"a secret")
    with server(**settings, KEYFILE_PASSWORD_FILE=tmp_path / "secret") as one:
        one.serving()
        with client(authority) as session:
            assert session.get(secure(one)).status_code == 200
        assert "a secret" not in one.log


@pytest.mark.every_python
@every_class
def test_http_3_with_several_workers(
    server: Launch, authority: Authority, worker_class: str, unprivileged: None
) -> None:
    async def until_two_have_answered(address: tuple[str, int]) -> list[int]:
        found: list[int] = []
        while len(set(found)) < 2 and len(found) < 200:
            async with connected(address) as session:
                found += [json.loads((await session.get())[1])["pid"] for _ in range(2)]
        return found

    with server(WORKER_CLASS=worker_class, WEB_CONCURRENCY=3, QUIC_BIND="127.0.0.1:0", **tls(authority)) as one:
        one.serving()
        pids = asyncio.run(until_two_have_answered(quic_address(one)))
        assert len(set(pids)) > 1, "more than one worker gets connections"
        assert all(first == second for first, second in zip(pids[::2], pids[1::2], strict=True))
        assert one.stop() == 0
        assert "Traceback" not in one.log


@every_class
def test_http_3_requests_in_progress_are_answered(server: Launch, authority: Authority, worker_class: str) -> None:
    async def in_progress(one: Server) -> tuple[list[int], int]:
        address = quic_address(one)
        async with connected(address) as idle, connected(address) as busy:
            await idle.get()
            tasks = [asyncio.create_task(busy.get("/held?size=300000")) for _ in range(4)]
            await asyncio.to_thread(one.wait_events, "slow", 4)
            one.kill(signal.SIGTERM)
            closed = await asyncio.wait_for(idle.terminated, LIMIT)
            assert not any(task.done() for task in tasks), "the idle connection is closed at once"
            one.release()
            return [len((await task)[1]) for task in tasks], closed.error_code

    with server(WORKER_CLASS=worker_class, QUIC_BIND="127.0.0.1:0", **tls(authority)) as one:
        one.serving()
        sizes, code = asyncio.run(in_progress(one))
        assert sizes == [300000] * 4
        assert code == 0x100
        assert one.wait() == 0


@every_class
def test_an_http_3_client_that_has_just_connected_is_given_the_time_to_ask(
    server: Launch, authority: Authority, worker_class: str, tmp_path: Path
) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/sitecustomize.py").write_text(  # more time than a busy machine needs
        f"import sys\nsys.path.append({str(RUNTIME / 'opt/hypercorn')!r})\n"
        "from hypercorn_image.worker import serving\nserving.HANDSHAKE = 30.0\n"
    )

    async def ask_late(one: Server) -> int:
        async with connected(quic_address(one)) as session:
            one.kill(signal.SIGTERM)
            await asyncio.sleep(0.8)  # as far away as that is the client
            return (await session.get())[0]

    with server(WORKER_CLASS=worker_class, QUIC_BIND="127.0.0.1:0", **tls(authority)) as one:
        one.serving()
        assert asyncio.run(ask_late(one)) == 200
        assert one.wait() == 0


@every_class
def test_http_3_while_workers_are_replaced(
    server: Launch, authority: Authority, worker_class: str, unprivileged: None
) -> None:
    sent, failures = 0, []

    async def connect_again_and_again(one: Server) -> None:
        nonlocal sent
        while "Reload complete" not in one.log or sent < 40:
            try:
                async with connected(quic_address(one)) as session:
                    sent += 1
                    assert (await session.get())[0] == 200
            except (ConnectionError, TimeoutError, AssertionError) as error:
                failures.append(repr(error))
            await asyncio.sleep(0.02)  # the processor is for the server

    async def load(one: Server) -> None:
        clients = [asyncio.create_task(connect_again_and_again(one)) for _ in range(4)]
        while sent < 20:
            await asyncio.sleep(0.01)
        one.kill(signal.SIGHUP)
        await asyncio.gather(*clients)

    with server(WORKER_CLASS=worker_class, QUIC_BIND="127.0.0.1:0", **tls(authority)) as one:
        one.serving()
        asyncio.run(load(one))
        assert not failures, (sent, failures, one.log[-2000:])
        assert one.stop() == 0


@pytest.mark.every_python
@every_class
@pytest.mark.parametrize("workers", [0, 1])
def test_websockets_get_a_close_frame(server: Launch, worker_class: str, workers: int) -> None:
    with server(WORKER_CLASS=worker_class, WEB_CONCURRENCY=workers) as one:
        one.serving()
        url = "ws://{}:{}/".format(*one.address)
        with ws_connect(url) as socket, ThreadPoolExecutor(1) as pool:
            socket.send("hello")
            assert socket.recv() == "echo hello"
            stopped = pool.submit(one.stop)
            with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
                socket.recv(timeout=LIMIT)
            assert closed.value.rcvd is not None, "a close frame, not a broken connection"
            assert closed.value.rcvd.code == 1012
            assert stopped.result() == 0
        one.wait_events("disconnected", 1) if one.events("disconnected") else None
        assert one.events("disconnected"), one.log
        assert "Traceback" not in one.log


@every_class
def test_a_websocket_client_that_is_silent_does_not_hold_up_a_stop(server: Launch, worker_class: str) -> None:
    from tests.runtime.server import connect

    with server(WORKER_CLASS=worker_class, WEB_CONCURRENCY=1) as one:
        one.serving()
        with connect(one.address) as sock:
            sock.sendall(
                b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            one.wait_events("accepted", 1)
            assert one.stop() == 0
        assert one.events("disconnected")


@every_class
def test_websocket_over_http_2(server: Launch, worker_class: str) -> None:
    from tests.runtime.h2ws import talk

    with server(WORKER_CLASS=worker_class) as one:
        one.serving()
        assert talk(one.address, "hello") == "echo hello"


def test_a_large_answer_to_a_slow_client_is_whole(server: Launch) -> None:
    from tests.runtime.server import connect

    size = 20_000_000
    with server(WEB_CONCURRENCY=1) as one:
        one.serving()
        with connect(one.address) as sock:
            sock.sendall(f"GET /?size={size} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
            data = sock.recv(1000)
            one.kill(signal.SIGTERM)
            one.wait_log("; stopping")
            body = len(data.partition(b"\r\n\r\n")[2])
            while chunk := sock.recv(1_000_000):
                body += len(chunk)
                time.sleep(0.02)  # a slow client
        assert body == size
        assert one.wait() == 0
