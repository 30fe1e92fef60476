"""What is assumed of Hypercorn and what it stands on beyond their documentation: each by name, and only here.

Where an assumption does not hold, the server serves all the same, a warning in the log names it, and `without` says
what is worse. Each has a test in tests/runtime/upstream; `make upstream` runs them with the newest releases.
"""

import atexit
import logging
import os
import weakref
from typing import Any, Callable, Container, Dict, List, Mapping, NamedTuple, Optional, Set, Tuple

HTTP1_VERSIONS = ("0.17.3", "0.18.0")
"""The versions of Hypercorn whose HTTP/1.1 `worker.http1` knows, to the byte. tests/runtime/http1 compares them."""
_LOGGERS = ("hypercorn.access", "hypercorn.error")


class Assumption(NamedTuple):
    """One assumption. `package` is the distribution's name, or `python`; `versions` are those it was seen in."""

    package: str
    versions: str
    without: str  # what is worse where it does not hold
    used_with: str = ""  # one of _FEATURES; always, when empty
    probe: Optional[Callable[[], bool]] = None  # whether it may hold; None where only its use tells


# What an assumption may be used with, and whether a configuration and the image's own variables ask for it.
_FEATURES: Dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "asyncio": lambda config, variables: config.worker_class == "asyncio",
    "uvloop": lambda config, variables: config.worker_class == "uvloop",
    "trio": lambda config, variables: config.worker_class == "trio",
    "quic": lambda config, variables: config.quic_bind,
    "statsd": lambda config, variables: config.statsd_host,
    "preload": lambda config, variables: variables.get("PRELOAD_APP"),
    "http1": lambda config, variables: variables.get("HTTP1") != "hypercorn" and config.worker_class != "trio",
}


def _h2() -> bool:
    from hypercorn import protocol
    from hypercorn.events import Closed, RawData, Updated  # noqa: F401
    from hypercorn.protocol.events import StreamClosed  # noqa: F401
    from hypercorn.protocol.h2 import H2Protocol
    from hyperframe.frame import GoAwayFrame  # noqa: F401

    named = getattr(protocol, "H2Protocol", None)
    return named is not None and _has(H2Protocol, "initiate", "handle", "stream_send", "_flush", "_handle_events")


def _h2_dispatch() -> bool:
    from h2.connection import H2Connection
    from hyperframe.frame import GoAwayFrame

    return GoAwayFrame in H2Connection()._frame_dispatch_table


def _http1() -> bool:
    import hypercorn
    from hypercorn.protocol.http_stream import ASGIHTTPState  # noqa: F401
    from hypercorn.utils import UnexpectedMessageError, build_and_validate_headers, suppress_body  # noqa: F401

    # Not by importlib.metadata: it imports 40 modules, a tenth of a start.
    packages = os.path.dirname(os.path.dirname(hypercorn.__file__))
    return any(os.path.isdir(os.path.join(packages, f"hypercorn-{version}.dist-info")) for version in HTTP1_VERSIONS)


def _quic() -> bool:
    from hypercorn.protocol.quic import QuicProtocol

    return _has(QuicProtocol, "send_all", "handle", "idle")


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
    # hypercorn/protocol/quic.py: H3Protocol, for each connection;
    # aioquic/h3/connection.py: _local_control_stream_id, _quic
    "hypercorn-h3-connection": Assumption(
        "hypercorn", "0.17.3, 0.18.0", "HTTP/3 clients may lose a request when a worker is replaced", "quic", _h3
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
    """Return a line for each assumption that does not hold, of those used with `features`."""
    return [
        line(name)
        for name, one in ASSUMPTIONS.items()
        if (not one.used_with or one.used_with in features) and not holds(name)
    ]


def holds(name: str) -> bool:
    """Tell whether an assumption holds, as far as that can be told before it is used."""
    probe = ASSUMPTIONS[name].probe
    try:
        return probe is None or probe()
    except Exception:  # whatever it is, it is not as it was
        return False


def line(name: str) -> str:
    """Return what the log says of an assumption that does not hold."""
    one = ASSUMPTIONS[name]
    return f"{one.package} {_version(one.package)} is not as expected ({name}): {one.without}"


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
    """Make Hypercorn's loggers unknown: `config` makes them again when it next logs."""
    known = loggers()
    for name in _LOGGERS:
        known.pop(name, None)
    config._log = None


def statsd_logger(worker_class: str) -> Any:
    """Return Hypercorn's logger that sends metrics, or its other one where that is not found."""
    from hypercorn.logging import Logger

    if not holds("hypercorn-statsd"):
        return Logger
    if worker_class == "trio":
        from hypercorn.trio.statsd import StatsdLogger as TrioLogger

        return TrioLogger
    from hypercorn.asyncio.statsd import StatsdLogger as AsyncioLogger

    return AsyncioLogger


def forget_finalizers() -> None:
    """Forget the exit handlers and finalizers of the process that this one was forked from."""
    getattr(atexit, "_clear", lambda: None)()
    for finalizer in list(getattr(weakref.finalize, "_registry", ())):
        finalizer.detach()
    if hasattr(weakref.finalize, "_registered_with_atexit"):
        weakref.finalize._registered_with_atexit = False


def go_on_after_goaway(connection: Any) -> None:
    """Have an h2 connection go on when its client says GOAWAY without an error: then it makes no more requests.

    h2 takes it for the end (python-hyper/h2 issue 1181), and Hypercorn closes with answers in progress. Clients made
    with nghttp2 say it as soon as they hear ours (Node). It can go when that issue is closed.
    """
    from hyperframe.frame import GoAwayFrame

    table = getattr(connection, "_frame_dispatch_table", {})
    ends = table.get(GoAwayFrame)
    if ends is not None:
        table[GoAwayFrame] = lambda frame: ends(frame) if frame.error_code else ([], [])


def note_quic(made: List[Any]) -> None:
    """Have each of Hypercorn's QUIC protocols, one for each socket, that is made from now on noted in `made`."""
    from hypercorn.protocol import quic

    class Noted(quic.QuicProtocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    setattr(quic, "QuicProtocol", Noted)  # noqa: B010 - Hypercorn looks it up for each socket


def quic_connections(protocol: Any) -> List[Any]:
    """Return the connections of one of Hypercorn's QUIC protocols, each as often as it has names."""
    return list(getattr(protocol, "connections", {}).values())


def quic_of(h3: Any) -> Any:
    """Return the QUIC connection below one of aioquic's HTTP/3 connections."""
    return h3._quic


def send_http_3_goaway(h3: Any, request: int) -> None:
    """Have one of aioquic's HTTP/3 connections say GOAWAY with the number of a request. The caller sends."""
    from aioquic.buffer import encode_uint_var
    from aioquic.h3.connection import FrameType, encode_frame

    control = getattr(h3, "_local_control_stream_id", None)
    if control is not None:
        quic_of(h3).send_stream_data(control, encode_frame(FrameType.GOAWAY, encode_uint_var(request)))


def quic_requests(quic: Any) -> int:
    """Return how many requests a client has made, or 1 where aioquic does not tell."""
    return int(getattr(getattr(quic, "_local_max_streams_bidi", None), "used", 1))


def quic_is_busy(connection: Any) -> bool:
    """Tell whether the application is still at an answer, or some of one has not arrived."""
    if getattr(getattr(connection, "h3", None), "streams", None):
        return True
    streams = getattr(connection.quic, "_streams", {})
    return any(_unfinished(stream) for number, stream in streams.items() if number % 4 == 0)  # a client's requests


def _unfinished(stream: Any) -> bool:
    # The application is done as soon as aioquic has its data: some may be unsent, or lost on the way.
    sender = getattr(stream, "sender", None)
    if sender is None or getattr(sender, "is_finished", True):
        return False
    return bool(getattr(sender, "highest_offset", 0)) or not getattr(sender, "buffer_is_empty", True)


def accept_no_more(loop: Any, server: Any) -> bool:
    """Have an asyncio server accept nothing more, without closing it; return whether it was seen to."""
    seen = [loop.remove_reader(sock.fileno()) for sock in server.sockets]
    return all(seen)


def connection_of(send: Any) -> Tuple[Any, int]:
    """Return Hypercorn's protocol object that a WebSocket's `send` belongs to, and the number of its stream."""
    stream = send.__self__
    return stream.send.__self__, stream.stream_id
