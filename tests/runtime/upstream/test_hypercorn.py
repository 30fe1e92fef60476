"""Of Hypercorn."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hypercorn.protocol
import hypercorn.trio
import pytest
import trio
from hypercorn.config import Config
from hypercorn_image import upstream
from hypercorn_image.app.forwarded.addresses import Proxies
from hypercorn_image.worker.loop import loop_class
from hypercorn_image.worker.proxy_protocol import on_trio
from hypercorn_image.worker.proxy_protocol.acceptor import Acceptor
from hypercorn_image.worker.proxy_protocol.senders import Senders
from hyperframe.frame import GoAwayFrame

from tests.runtime import h2ws, h3, server
from tests.runtime.http1 import both as http1
from tests.runtime.http1 import cases
from tests.runtime.upstream import serving
from tests.runtime.upstream.serving import HOST, configuration, opened

both = pytest.mark.parametrize("worker_class", ["asyncio", "uvloop"])
_HANDSHAKE = (
    b"GET / HTTP/1.1\r\nhost: test\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@both
@pytest.mark.holds("hypercorn-serves-on-its-sockets")
def test_hypercorn_serves_by_the_loop_on_the_sockets_it_was_given(worker_class: str, tmp_path: Path) -> None:
    async def use(loop: Any) -> None:
        assert (len(loop.servers), len(loop.datagrams)) == (1, 1)
        assert isinstance(loop.datagrams[0][1], asyncio.DatagramProtocol)
        _, writer = await asyncio.open_connection(HOST, port)
        while not loop.handshaking and not loop.transports:
            await asyncio.sleep(0.001)
        writer.close()

    with opened() as tcp, opened(socket.SOCK_DGRAM) as udp:
        port = tcp.getsockname()[1]
        serving.serve(worker_class, configuration(tcp, udp, **serving.certificate(tmp_path)), use)


@pytest.mark.holds("hypercorn-http1")
def test_hypercorn_answers_http_1_1_as_the_fast_path_does() -> None:
    some = cases.CASES[::100]
    with http1.serving(False) as plain, http1.serving(True) as fast, ThreadPoolExecutor(len(some)) as pool:
        assert list(pool.map(lambda case: http1.difference(plain, fast, case), some)) == [""] * len(some)


@pytest.mark.holds("hypercorn-h2-connection")
def test_hypercorn_makes_http_2_connections_of_the_class_in_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    from hypercorn.protocol.h2 import H2Protocol

    called: list[str] = []
    made: list[Any] = []

    class Noted(H2Protocol):  # type: ignore[misc, unused-ignore]
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

    def noting(name: str) -> Any:
        async def method(self: Any, *args: Any) -> Any:
            called.append(name)
            return await getattr(H2Protocol, name)(self, *args)

        return method

    names = {"initiate", "handle", "stream_send", "send_task", "_send_data", "_flush", "_handle_events"}
    for name in names:
        setattr(Noted, name, noting(name))
    monkeypatch.setattr(hypercorn.protocol, "H2Protocol", Noted)

    async def use(loop: Any) -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        client.initiate_connection()
        headers = {":method": "GET", ":path": "/", ":scheme": "http", ":authority": "test"}
        client.send_headers(1, list(headers.items()), end_stream=True)
        writer.write(client.data_to_send())
        events: list[Any] = []
        while not any(isinstance(event, h2.events.StreamEnded) for event in events):
            events += client.receive_data(await asyncio.wait_for(reader.read(65536), serving.LIMIT))
        writer.close()

    with opened() as tcp:
        port = tcp.getsockname()[1]
        serving.serve("asyncio", configuration(tcp), use)
    assert set(called) == names
    used = ("connection", "streams", "stream_buffers", "send", "closed", "context", "priority", "has_data", "config")
    assert [name for name in used if not hasattr(made[0], name)] == []


@both
@pytest.mark.holds("hypercorn-quic-connections")
def test_hypercorns_quic_protocol_knows_its_connections(
    worker_class: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hypercorn.protocol.quic

    monkeypatch.setattr(hypercorn.protocol.quic, "QuicProtocol", hypercorn.protocol.quic.QuicProtocol)
    made: list[Any] = []
    upstream.note_quic(made)

    async def use(loop: Any, address: tuple[str, int]) -> None:
        async with h3.connected(address) as connection:
            await connection.ping()
            (protocol,) = made
            one = next(iter(protocol.connections.values()))
            assert hasattr(one.h3, "streams")
            one.quic.close(error_code=0x100)
            await protocol.send_all(one)
            await asyncio.wait_for(connection.wait_closed(), serving.LIMIT)
        loop.datagrams[0][1].datagram_received(b"", ("", 0))  # wakes it, and it ends

    serving.serve_quic(worker_class, tmp_path, use)


@both
@pytest.mark.holds("hypercorn-quic-timer")
def test_hypercorns_timer_ends_a_quic_connection(
    worker_class: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hypercorn.protocol.quic

    monkeypatch.setattr(hypercorn.protocol.quic, "QuicProtocol", hypercorn.protocol.quic.QuicProtocol)
    made: list[Any] = []
    upstream.let_quic_timers_finish()
    ours = hypercorn.protocol.quic.QuicProtocol
    upstream.note_quic(made)

    async def use(loop: Any, address: tuple[str, int]) -> None:
        async with h3.connected(address) as connection:
            await connection.ping()
        (protocol,) = made
        assert isinstance(protocol, ours)
        while protocol.connections:  # until its timer says that nothing more of the connection can come
            await asyncio.sleep(0.01)
        loop.datagrams[0][1].datagram_received(b"", ("", 0))  # wakes it, and it ends

    serving.serve_quic(worker_class, tmp_path, use)


@pytest.mark.holds("hypercorn-tls-context")
@pytest.mark.parametrize("worker_class", ["asyncio", "uvloop", "trio"])
def test_hypercorn_serves_with_the_tls_context_of_its_configuration(worker_class: str, tmp_path: Path) -> None:
    with opened() as tcp:
        port = tcp.getsockname()[1]
        config = configuration(tcp, **serving.certificate(tmp_path))
        upstream.share_tls_context(config)
        shared = config.create_ssl_context()
        assert config.create_ssl_context() is shared
        shared.set_alpn_protocols(["only-here"])
        client = server.unverified_tls()
        client.set_alpn_protocols(["only-here"])

        def agreed() -> str | None:
            with socket.create_connection((HOST, port)) as sock, client.wrap_socket(sock) as secure:
                return secure.selected_alpn_protocol()

        found: list[str | None] = []

        async def use(_: Any = None) -> None:
            run = trio.to_thread.run_sync if worker_class == "trio" else asyncio.to_thread
            found.append(await run(agreed))

        if worker_class == "trio":
            trio.run(partial(hypercorn.trio.serve, serving.hello, config, shutdown_trigger=use, mode="asgi"))
        else:
            serving.serve(worker_class, config, use)
        assert found == ["only-here"]


@pytest.mark.holds("hypercorn-loggers")
def test_hypercorn_makes_its_loggers_at_the_first_line_by_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    config = Config.from_mapping(accesslog="-", errorlog="-")
    loggers = (config.log.access_logger, config.log.error_logger)
    assert [logger.name for logger in loggers if logger] == ["hypercorn.access", "hypercorn.error"]
    upstream.forget_loggers(config)
    again = (config.log.access_logger, config.log.error_logger)
    assert not set(loggers) & set(again)
    upstream.forget_loggers(config)


@pytest.mark.holds("hypercorn-logs-the-scope")
def test_hypercorn_logs_a_request_with_the_scope_that_the_application_had() -> None:
    logged: list[Any] = []

    async def marks(scope: Any, receive: Any, send: Any) -> None:
        scope["mark"] = "here"
        await serving.hello(scope, receive, send)

    async def use(loop: Any) -> None:
        assert b"200" in await serving.get(port)

    class Logger(Config().logger_class):  # type: ignore[misc]
        async def access(self, request: Any, response: Any, request_time: float) -> None:
            logged.append(request)

    with opened() as tcp:
        port = tcp.getsockname()[1]
        serving.serve("asyncio", configuration(tcp, logger_class=Logger), use, marks)
    assert [request.get("mark") for request in logged] == ["here"]


@pytest.mark.parametrize("worker_class", ["asyncio", "uvloop", "trio"])
@pytest.mark.holds("hypercorn-statsd")
def test_hypercorn_has_a_logger_that_sends_metrics(worker_class: str) -> None:
    from hypercorn.statsd import StatsdLogger

    assert upstream.holds("hypercorn-statsd")
    assert issubclass(upstream.statsd_logger(worker_class), StatsdLogger)


@pytest.mark.parametrize("worker_class", ["asyncio", "trio"])
@pytest.mark.holds("hypercorn-websocket-connection")
def test_hypercorn_serves_a_websocket_by_an_object_that_its_send_leads_to(worker_class: str) -> None:
    found: list[tuple[str, int, Any]] = []

    async def notes(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            await serving.hello(scope, receive, send)
            return
        await receive()
        protocol, stream = upstream.connection_of(send)
        found.append((type(protocol).__name__, stream, protocol.send.__self__))
        await send({"type": "websocket.accept"})
        await receive()

    def open_both() -> None:
        with server.connect((HOST, port)) as sock:
            sock.sendall(_HANDSHAKE)
            assert sock.recv(65536).startswith(b"HTTP/1.1 101 ")
        with server.connect((HOST, port)) as sock:
            h2ws.Connection(sock).open_websocket()

    with opened() as tcp:
        port = tcp.getsockname()[1]
        if worker_class == "trio":
            options: dict[str, Any] = {"shutdown_trigger": lambda: trio.to_thread.run_sync(open_both), "mode": "asgi"}
            trio.run(lambda: hypercorn.trio.serve(notes, configuration(tcp), **options))
        else:
            serving.serve("asyncio", configuration(tcp), lambda loop: asyncio.to_thread(open_both), notes)
    assert [(name, stream) for name, stream, _ in found] == [("H11Protocol", 1), ("H2Protocol", 1)]
    for _, _, served_by in found:
        assert served_by.stream.socket if worker_class == "trio" else served_by.writer.transport


@pytest.mark.holds("hypercorn-h3-connection")
def test_hypercorn_makes_http_3_connections_of_the_class_in_its_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hypercorn.protocol import quic
    from hypercorn.protocol.h3 import H3Protocol

    made: list[Any] = []

    class Noted(H3Protocol):  # type: ignore[misc, unused-ignore]
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(quic, "H3Protocol", Noted)

    async def use(loop: Any, address: tuple[str, int]) -> None:
        async with h3.connected(address) as connection:
            await connection.ping()
            (one,) = made
            assert hasattr(one, "streams")
            assert hasattr(upstream.quic_of(one.connection), "send_ping")
            upstream.send_http_3_goaway(one.connection, 4)
            await one.send()
            while 4 not in connection.first_unserved:
                await asyncio.sleep(0.001)

    serving.serve_quic("asyncio", tmp_path, use)


_PROXIED = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\nGET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"
_ADDRESSES = (("192.0.2.7", 4711), ("192.0.2.1", 443))


def telling(told: list[Any]) -> Any:
    """Return an application that notes the addresses in its scopes."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            told.append((scope["client"], scope["server"]))
        await serving.hello(scope, receive, send)

    return application


@both
@pytest.mark.holds("hypercorn-asks-the-socket")
def test_hypercorn_asks_the_socket_for_the_addresses(worker_class: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    made = loop_class(worker_class)

    def loop() -> Any:
        one = made()
        one.accepts = partial(Acceptor, one, Senders(Proxies(["*"]), print))
        return one

    async def use(_: Any) -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(_PROXIED)
        assert (await asyncio.wait_for(reader.read(), serving.LIMIT)).startswith(b"HTTP/1.1 200")
        writer.close()

    monkeypatch.setattr(serving, "loop_class", lambda _: loop)
    with opened() as tcp:
        port = tcp.getsockname()[1]
        serving.serve(worker_class, configuration(tcp), use, telling(told))
    assert told == [_ADDRESSES]


@pytest.mark.holds("hypercorn-trio-connection")
def test_hypercorn_on_trio_serves_a_connection_by_the_class_in_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    run = upstream._trio_run()
    monkeypatch.setattr(run, "TCPServer", run.TCPServer)  # put back at the end
    on_trio.install(Senders(Proxies(["*"]), print))
    told: list[Any] = []

    async def use() -> None:
        stream = await trio.open_tcp_stream(HOST, port)
        await stream.send_all(_PROXIED)
        with trio.fail_after(serving.LIMIT):
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
        await stream.aclose()

    with opened() as tcp:
        port = tcp.getsockname()[1]
        serve = partial(hypercorn.trio.serve, telling(told), configuration(tcp), shutdown_trigger=use, mode="asgi")
        trio.run(serve)
    assert told == [_ADDRESSES]


@pytest.mark.holds("h2-dispatches-by-frame")
def test_h2_goes_on_after_a_goaway_without_an_error_and_ends_at_one_with_an_error() -> None:
    def exchange(code: int) -> list[Any]:
        client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        upstream.go_on_after_goaway(server)
        client.initiate_connection()
        names = {":method": "POST", ":path": "/", ":scheme": "http", ":authority": "test"}
        client.send_headers(1, list(names.items()))
        goaway = GoAwayFrame(0, last_stream_id=0, error_code=code).serialize()
        client_sends = client.data_to_send() + goaway
        client.send_data(1, b"body", end_stream=True)
        return list(server.receive_data(client_sends + client.data_to_send()))

    assert any(isinstance(event, h2.events.StreamEnded) for event in exchange(0))
    with pytest.raises(h2.exceptions.ProtocolError):
        exchange(1)
