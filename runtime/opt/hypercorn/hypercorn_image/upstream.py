# SPDX-License-Identifier: MIT
"""All assumptions about Hypercorn and its dependencies that their documentation does not promise.

If one does not hold, the server still serves. A warning in the log names the assumption and says what is worse
(`without`). Each has a test in tests/runtime/upstream; `make upstream` runs them with the newest releases.
"""

import atexit
import importlib
import logging
import os
import weakref
from typing import Any, Callable, Container, Dict, List, Mapping, NamedTuple, Optional, Set, Tuple

HTTP1_VERSIONS = ("0.17.3", "0.18.0")
"""The versions of Hypercorn with which `worker.http1` agrees to the byte. tests/runtime/http1 compares them."""
_LOGGERS = ("hypercorn.access", "hypercorn.error")


class Assumption(NamedTuple):
    """One assumption. `package` is the distribution's name, or `python`; `versions` are those it was seen in."""

    package: str
    versions: str
    without: str  # what is worse if it does not hold
    used_with: str = ""  # one of _FEATURES; empty means always
    probe: Optional[Callable[[], bool]] = None  # whether it may hold; None if only its use tells


# Whether a configuration, with the image's own variables, uses a feature.
_FEATURES: Dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "asyncio": lambda config, variables: config.worker_class == "asyncio",
    "uvloop": lambda config, variables: config.worker_class == "uvloop",
    "trio": lambda config, variables: config.worker_class == "trio",
    "quic": lambda config, variables: config.quic_bind,
    "statsd": lambda config, variables: config.statsd_host,
    "preload": lambda config, variables: variables.get("PRELOAD_APP"),
    "proxy": lambda config, variables: variables.get("PROXY_PROTOCOL"),
    "proxy-trio": lambda config, variables: variables.get("PROXY_PROTOCOL") and config.worker_class == "trio",
    "http1": lambda config, variables: variables.get("HTTP1") != "hypercorn" and config.worker_class != "trio",
}


def _h2() -> bool:
    from hypercorn import protocol
    from hypercorn.events import Closed, RawData, Updated  # noqa: F401
    from hypercorn.protocol.events import StreamClosed  # noqa: F401
    from hypercorn.protocol.h2 import H2Protocol
    from hyperframe.frame import GoAwayFrame  # noqa: F401

    named = getattr(protocol, "H2Protocol", None)
    return named is not None and _has(
        H2Protocol, "initiate", "handle", "stream_send", "send_task", "_send_data", "_flush", "_handle_events"
    )


def _h2_dispatch() -> bool:
    from h2.connection import H2Connection
    from hyperframe.frame import GoAwayFrame

    return GoAwayFrame in H2Connection()._frame_dispatch_table


def _http1() -> bool:
    import hypercorn
    from hypercorn.protocol.http_stream import ASGIHTTPState  # noqa: F401
    from hypercorn.utils import (  # noqa: F401
        UnexpectedMessageError,
        build_and_validate_headers,
        parse_socket_addr,
        suppress_body,
    )

    # Not by importlib.metadata: it imports 40 modules, a tenth of a start.
    packages = os.path.dirname(os.path.dirname(hypercorn.__file__))
    return any(os.path.isdir(os.path.join(packages, f"hypercorn-{version}.dist-info")) for version in HTTP1_VERSIONS)


def _quic() -> bool:
    from hypercorn.protocol.quic import QuicProtocol

    return _has(QuicProtocol, "send_all", "handle", "idle")


def _quic_timer() -> bool:
    from hypercorn.protocol.quic import QuicProtocol

    return _has(QuicProtocol, "_handle_timer", "_handle_events")


def _h3() -> bool:
    from aioquic.h3 import connection
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.connection import QuicConnection
    from hypercorn.protocol import quic
    from hypercorn.protocol.h3 import H3Protocol

    one = connection.H3Connection(QuicConnection(configuration=QuicConfiguration(is_client=True)))
    made = _has(quic, "H3Protocol") and _has(H3Protocol, "handle") and _has(connection, "encode_frame", "FrameType")
    return made and _has(one, "_quic", "_local_control_stream_id")


def _aioquic() -> bool:
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.connection import QuicConnection

    one = QuicConnection(configuration=QuicConfiguration(is_client=True))
    return _has(one, "_streams") and _has(one._local_max_streams_bidi, "used")


def _statsd() -> bool:
    from hypercorn.asyncio import statsd as on_asyncio
    from hypercorn.trio import statsd as on_trio

    return _has(on_asyncio, "StatsdLogger") and _has(on_trio, "StatsdLogger")


def _trio_connection() -> bool:
    from hypercorn.trio import tcp_server

    return getattr(_trio_run(), "TCPServer", None) is tcp_server.TCPServer


def _trio_run() -> Any:
    return importlib.import_module("hypercorn.trio.run")


def _tls_context() -> bool:
    from hypercorn.config import Config

    return _has(Config, "create_ssl_context")


def _loggers() -> bool:
    from hypercorn.config import Config

    return _has(Config, "_log")


def _has(owner: Any, *names: str) -> bool:
    return all(hasattr(owner, name) for name in names)


_NO_HYPERCORN = "connections are not closed in order at a stop, which may take the whole GRACEFUL_TIMEOUT"

ASSUMPTIONS: Dict[str, Assumption] = {
    # hypercorn/asyncio/run.py: asyncio.start_server(sock=…), loop.create_datagram_endpoint(sock=…)
    "hypercorn-serves-on-its-sockets": Assumption("hypercorn", "0.17.3, 0.18.0", _NO_HYPERCORN, "asyncio"),
    # hypercorn/protocol/__init__.py: H2Protocol, looked up for each connection
    "hypercorn-h2-connection": Assumption(
        "hypercorn", "0.17.3, 0.18.0", "HTTP/2 clients may lose a request when a worker is replaced", probe=_h2
    ),
    # h2/connection.py: _frame_dispatch_table
    "h2-dispatches-by-frame": Assumption(
        "h2", "4.1.0 to 4.4.1", "an HTTP/2 client that says GOAWAY loses its requests in progress", probe=_h2_dispatch
    ),
    # hypercorn/protocol/h11.py, hypercorn/protocol/http_stream.py, hypercorn/asyncio/tcp_server.py, in every detail
    "hypercorn-http1": Assumption(
        "hypercorn", "0.17.3, 0.18.0", "Hypercorn reads HTTP/1.1 itself, which is slower", "http1", _http1
    ),
    # hypercorn/*/udp_server.py: QuicProtocol, looked up for each socket; hypercorn/protocol/quic.py: connections
    "hypercorn-quic-connections": Assumption(
        "hypercorn", "0.17.3, 0.18.0", "HTTP/3 holds up a stop for the whole GRACEFUL_TIMEOUT", "quic", _quic
    ),
    # hypercorn/protocol/quic.py: _handle_timer(timer, connection), in a task that the next timer cancels; task_group
    "hypercorn-quic-timer": Assumption(
        "hypercorn",
        "0.17.3, 0.18.0",
        "an HTTP/3 answer of which packets are lost may never arrive",
        "quic",
        _quic_timer,
    ),
    # hypercorn/protocol/quic.py: H3Protocol, for each connection;
    # aioquic/h3/connection.py: _local_control_stream_id, _quic
    "hypercorn-h3-connection": Assumption(
        "hypercorn", "0.17.3, 0.18.0", "HTTP/3 clients may lose a request when a worker is replaced", "quic", _h3
    ),
    # hypercorn/asyncio/run.py and hypercorn/trio/run.py: config.create_ssl_context
    "hypercorn-tls-context": Assumption(
        "hypercorn", "0.17.3, 0.18.0", "TLS clients resume no session of another worker", probe=_tls_context
    ),
    # hypercorn/config.py: Config._log; hypercorn/logging.py: the loggers' names
    "hypercorn-loggers": Assumption(
        "hypercorn",
        "0.17.3, 0.18.0",
        "a dictConfig of the application may silence the access log after SIGHUP",
        probe=_loggers,
    ),
    # hypercorn/protocol/http_stream.py: config.log.access(self.scope, …)
    "hypercorn-logs-the-scope": Assumption(
        "hypercorn", "0.17.3, 0.18.0", "the access log on trio may have a line twice", "trio"
    ),
    # hypercorn/protocol/ws_stream.py: app_send; WSStream.send; hypercorn/*/tcp_server.py: protocol_send, writer, stream
    "hypercorn-websocket-connection": Assumption(
        "hypercorn",
        "0.17.3, 0.18.0",
        "a WebSocket client that is silent holds up a stop for the whole GRACEFUL_TIMEOUT",
    ),
    # hypercorn/*/tcp_server.py: run, socket.getpeername(), socket.getsockname() and socket.family
    "hypercorn-asks-the-socket": Assumption(
        "hypercorn", "0.17.3, 0.18.0", "with PROXY_PROTOCOL the client's address is the proxy's", "proxy"
    ),
    # hypercorn/trio/run.py: TCPServer, made for each connection and run
    "hypercorn-trio-connection": Assumption(
        "hypercorn", "0.17.3, 0.18.0", "PROXY_PROTOCOL does not work on trio", "proxy-trio", _trio_connection
    ),
    # hypercorn/asyncio/statsd.py, hypercorn/trio/statsd.py
    "hypercorn-statsd": Assumption("hypercorn", "0.17.3, 0.18.0", "statsd gets no metrics", "statsd", _statsd),
    # aioquic/quic/connection.py: _streams, _local_max_streams_bidi; aioquic/quic/stream.py: sender
    "aioquic-streams": Assumption(
        "aioquic", "1.0.0 to 1.7.2", "an HTTP/3 answer in progress may be cut at a stop", "quic", _aioquic
    ),
    # asyncio/selector_events.py: _start_serving adds a reader, which accepts
    "asyncio-accepts-by-a-reader": Assumption(
        "python", "3.8 to 3.13", "a connection that comes at the moment of a stop may be reset", "asyncio"
    ),
    # asyncio/base_events.py: Server.close after its descriptors were replaced
    "asyncio-server-of-a-replaced-socket": Assumption(
        "python", "3.8 to 3.13", "a connection that comes at the moment of a stop may be reset", "asyncio"
    ),
    # asyncio/selector_events.py, _accept_connection2, and uvloop/handles/streamserver.pyx: the protocol comes first
    "asyncio-makes-the-protocol-at-accept": Assumption(
        "python", "3.8 to 3.13", "a TLS handshake in progress may be cut at a stop", "asyncio"
    ),
    "uvloop-makes-the-protocol-at-accept": Assumption(
        "uvloop", "0.21.0 to 0.23.0", "a TLS handshake in progress may be cut at a stop", "uvloop"
    ),
    # uvloop/server.pyx: close lets what was accepted live
    "uvloop-closes-at-once": Assumption(
        "uvloop", "0.21.0 to 0.23.0", "a connection that comes at the moment of a stop may be reset", "uvloop"
    ),
    # trio/_highlevel_socket.py: SocketListener.accept goes on with what has the descriptor
    "trio-accepts-on-the-descriptor": Assumption(
        "trio", "0.27.0 to 0.35.0", "connections are accepted until the stop is over", "trio"
    ),
    # logging/__init__.py: Manager.loggerDict
    "python-loggers": Assumption(
        "python",
        "3.8 to 3.13",
        "a dictConfig of the application may silence the access log after SIGHUP",
        probe=lambda: _has(logging.Logger.manager, "loggerDict"),
    ),
    # Modules/atexitmodule.c: atexit._clear; weakref.py: finalize._registry, _registered_with_atexit
    "python-finalizers": Assumption(
        "python",
        "3.8 to 3.13",
        "a worker that ends runs the exit handlers of the preloaded application",
        "preload",
        lambda: _has(atexit, "_clear") and _has(weakref.finalize, "_registry", "_registered_with_atexit"),
    ),
}


def used(config: Any, variables: Mapping[str, Any]) -> Set[str]:
    """Return the features that `config` and the image's own `variables` ask for."""
    return {name for name, asks in _FEATURES.items() if asks(config, variables)}


def missing(features: Container[str]) -> List[str]:
    """Return a line for each assumption that `features` need and that does not hold."""
    return [
        line(name)
        for name, assumption in ASSUMPTIONS.items()
        if (not assumption.used_with or assumption.used_with in features) and not holds(name)
    ]


def holds(name: str) -> bool:
    """Tell whether an assumption holds, as far as that can be told before it is used."""
    probe = ASSUMPTIONS[name].probe
    try:
        return probe is None or probe()
    except Exception:  # any exception means that it does not hold
        return False


def line(name: str) -> str:
    """Return the log line for an assumption that does not hold."""
    assumption = ASSUMPTIONS[name]
    version = _version(assumption.package)
    return f"{assumption.package} {version} is not as expected ({name}): {assumption.without}"


def _version(package: str) -> str:
    import platform

    if package == "python":
        return platform.python_version()
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"


# ---- where they are used ---------------------------------------------------------------------------------------------


def loggers() -> Dict[str, Any]:
    """Return Python's loggers by name, and placeholders for those that have only children."""
    return getattr(logging.Logger.manager, "loggerDict", {})


def forget_loggers(config: Any) -> None:
    """Drop Hypercorn's loggers. `config` makes them again when it next logs."""
    known = loggers()
    for name in _LOGGERS:
        known.pop(name, None)
    config._log = None


def share_tls_context(config: Any) -> None:
    """Make the TLS context of `config` now, and have Hypercorn use this one. Raises what Hypercorn raises."""
    if holds("hypercorn-tls-context"):
        context = config.create_ssl_context()
        config.create_ssl_context = lambda: context


def statsd_logger(worker_class: str) -> Any:
    """Return Hypercorn's logger that sends metrics, or its usual one if that is not found."""
    from hypercorn.logging import Logger

    if not holds("hypercorn-statsd"):
        return Logger
    if worker_class == "trio":
        from hypercorn.trio.statsd import StatsdLogger as TrioLogger

        return TrioLogger
    from hypercorn.asyncio.statsd import StatsdLogger as AsyncioLogger

    return AsyncioLogger


def forget_finalizers() -> None:
    """Drop the exit handlers and finalizers of the process that this one was forked from."""
    getattr(atexit, "_clear", lambda: None)()
    for finalizer in list(getattr(weakref.finalize, "_registry", ())):
        finalizer.detach()
    if hasattr(weakref.finalize, "_registered_with_atexit"):
        weakref.finalize._registered_with_atexit = False


def go_on_after_goaway(connection: Any) -> None:
    """Make an h2 connection go on after its client's GOAWAY without an error.

    Such a client only makes no more requests. h2 treats the connection as closed (python-hyper/h2 issue 1181), and
    Hypercorn closes it with answers in progress. Clients made with nghttp2 (Node) send a GOAWAY as soon as they hear
    ours. This can go when that issue is closed.
    """
    from hyperframe.frame import GoAwayFrame

    table = getattr(connection, "_frame_dispatch_table", {})
    ends = table.get(GoAwayFrame)
    if ends is not None:
        table[GoAwayFrame] = lambda frame: ends(frame) if frame.error_code else ([], [])


def note_quic(made: List[Any]) -> None:
    """Add each QUIC protocol that Hypercorn makes from now on to `made`. It makes one for each socket."""
    from hypercorn.protocol import quic

    class Noted(quic.QuicProtocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    setattr(quic, "QuicProtocol", Noted)  # noqa: B010 - Hypercorn looks it up for each socket


def let_quic_timers_finish() -> None:
    """Have what a connection's timer has begun go on when the next timer is set.

    Hypercorn cancels it then, even if it sets the next timer itself, or is handling events: these are lost. On trio the
    next timer is cancelled too: a lost packet is sent again only once, and an idle connection never ends. This can go
    when Hypercorn cancels a timer only while it waits.
    """
    from hypercorn.protocol import quic

    class Timed(quic.QuicProtocol):
        async def _handle_timer(self, timer: float, connection: Any) -> None:
            await self.context.sleep(max(0, timer - self.context.time()))
            if connection.quic.get_timer() is not None:  # it has not ended meanwhile
                connection.quic.handle_timer(now=self.context.time())
                self.task_group.spawn(self._handle_events, connection)

    setattr(quic, "QuicProtocol", Timed)  # noqa: B010 - Hypercorn looks it up for each socket


def quic_connections(protocol: Any) -> List[Any]:
    """Return the connections of a QUIC protocol of Hypercorn, one entry for each of a connection's IDs."""
    return list(getattr(protocol, "connections", {}).values())


def quic_of(h3: Any) -> Any:
    """Return the QUIC connection of one of aioquic's HTTP/3 connections."""
    return h3._quic


def send_http_3_goaway(h3: Any, request: int) -> None:
    """Add a GOAWAY with the number of a request to an HTTP/3 connection of aioquic. The caller sends it."""
    from aioquic.buffer import encode_uint_var
    from aioquic.h3.connection import FrameType, encode_frame

    control = getattr(h3, "_local_control_stream_id", None)
    if control is not None:
        quic_of(h3).send_stream_data(control, encode_frame(FrameType.GOAWAY, encode_uint_var(request)))


def quic_requests(quic: Any) -> int:
    """Return how many requests a client has made, or 1 if aioquic does not tell."""
    return int(getattr(getattr(quic, "_local_max_streams_bidi", None), "used", 1))


def quic_is_busy(connection: Any) -> bool:
    """Tell whether an answer is not complete, or has not arrived completely."""
    if getattr(getattr(connection, "h3", None), "streams", None):
        return True
    streams = getattr(connection.quic, "_streams", {})
    return any(_unfinished(stream) for number, stream in streams.items() if number % 4 == 0)  # a client's requests


def _unfinished(stream: Any) -> bool:
    # The application has finished when aioquic has its data, but some may be unsent, or lost on the way.
    sender = getattr(stream, "sender", None)
    if sender is None or getattr(sender, "is_finished", True):
        return False
    return bool(getattr(sender, "highest_offset", 0)) or not getattr(sender, "buffer_is_empty", True)


def before_trio_connections(begins: Callable[[Any], Any]) -> None:
    """Have `begins` run before Hypercorn serves a connection on trio: a coroutine function of its stream.

    The connection is closed where it returns false.
    """
    import trio

    run = _trio_run()

    class Connection(run.TCPServer):  # type: ignore[misc, name-defined]
        async def run(self) -> None:
            if await begins(self.stream):
                await super().run()
            else:
                await trio.aclose_forcefully(self.stream)

    run.TCPServer = Connection


def accept_no_more(loop: Any, server: Any) -> bool:
    """Make an asyncio server accept nothing more, without closing it; return whether that worked."""
    removed = [loop.remove_reader(sock.fileno()) for sock in server.sockets]
    return all(removed)


def connection_of(send: Any) -> Tuple[Any, int]:
    """Return Hypercorn's protocol object of a WebSocket's `send`, and the number of its stream."""
    stream = send.__self__
    return stream.send.__self__, stream.stream_id
