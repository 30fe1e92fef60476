"""The servers that are compared: how each is started for a case, and what it has not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.cases import Case
from tests.runtime.server import RUNTIME

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Place:
    """What a server is given: the environment's Python, a port, a certificate and its key, a folder to write in."""

    python: Path
    port: int
    certificate: str
    key: str
    folder: Path

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def tool(self, name: str) -> str:
        """Return a program of the environment."""
        return str(self.python.parent / name)


@dataclass(frozen=True)
class Server:
    """A server. `package` is the one whose version is shown; `lacks` says for a feature why there is no figure."""

    name: str
    package: str
    note: str
    command: Callable[[Case, Place], list[str]]
    variables: Callable[[Case, Place], Mapping[str, str]] = lambda case, place: {}
    lacks: Mapping[str, str] = field(default_factory=dict)


def _switch(on: bool, *arguments: str) -> list[str]:
    return list(arguments) if on else []


def _application(case: Case) -> str:
    return f"{case.application}:app"


def _ours(case: Case, place: Place) -> list[str]:
    return [str(place.python), str(RUNTIME / "opt/hypercorn/serve.py")]


def _our_variables(case: Case, place: Place) -> dict[str, str]:
    variables = {
        "MODULE_NAME": case.application,
        "HOST": HOST,
        "WORKER_CLASS": case.loop,
        "WEB_CONCURRENCY": str(case.workers),
        "ACCESS_LOG": "-" if case.access_log else "",
        "STATE_DIRECTORY": str(place.folder),
    }
    if not case.tls:
        return {**variables, "TCP_PORT": str(place.port)}
    tls = {"USE_TCP": "false", "USE_SSL": "true", "SSL_PORT": str(place.port)}
    quic = {"QUIC_BIND": place.address} if case.protocol == "h3" else {}
    return {**variables, **tls, **quic, "CERTFILE": place.certificate, "KEYFILE": place.key}


def _plain(case: Case, place: Place) -> list[str]:
    return [
        place.tool("hypercorn"),
        _application(case),
        *("--bind", place.address, "--worker-class", case.loop, "--workers", str(case.workers)),
        *_switch(case.access_log, "--access-logfile", "-"),
        *_switch(case.tls, "--certfile", place.certificate, "--keyfile", place.key),
        *_switch(case.protocol == "h3", "--quic-bind", place.address),
    ]


def _uvicorn(case: Case, place: Place) -> list[str]:
    return [
        place.tool("uvicorn"),
        _application(case),
        *("--host", HOST, "--port", str(place.port), "--loop", case.loop, "--workers", str(case.workers)),
        "--access-log" if case.access_log else "--no-access-log",
        *_switch(case.tls, "--ssl-certfile", place.certificate, "--ssl-keyfile", place.key),
    ]


def _gunicorn(case: Case, place: Place) -> list[str]:
    return [
        place.tool("gunicorn"),
        _application(case),
        *("--worker-class", "asgi", "--asgi-loop", case.loop),
        *("--bind", place.address, "--workers", str(case.workers)),
        *_switch(case.access_log, "--access-logfile", "-"),
        *_switch(case.tls, "--certfile", place.certificate, "--keyfile", place.key),
        *_switch(case.protocol == "h2", "--http-protocols", "h2,h1"),
        *_switch(case.feature == "h2c", "--http2-cleartext", "both"),
    ]


def _granian(case: Case, place: Place) -> list[str]:
    return [
        place.tool("granian"),
        _application(case),
        *("--interface", "asgi", "--loop", case.loop, "--workers", str(case.workers)),
        *("--host", HOST, "--port", str(place.port)),
        "--access-log" if case.access_log else "--no-access-log",
        *_switch(case.tls, "--ssl-certificate", place.certificate, "--ssl-keyfile", place.key),
    ]


NO_H3 = {"h3": "no HTTP/3"}
NO_H2 = {"h2": "no HTTP/2", "h2c": "no HTTP/2"}
OURS, PLAIN, UVICORN = "ours", "plain", "uvicorn"
TABLE = (
    Server(OURS, "hypercorn", "this repository's runtime, with its defaults", _ours, _our_variables),
    Server(PLAIN, "hypercorn", "the `hypercorn` command", _plain),
    Server(UVICORN, "uvicorn", "with `uvicorn[standard]`: httptools, websockets", _uvicorn, lacks={**NO_H2, **NO_H3}),
    Server(
        "gunicorn",
        "gunicorn",
        "its own ASGI worker (`-k asgi`); its parser in C has no wheel for this Python",
        _gunicorn,
        lacks=NO_H3,
    ),
    Server("granian", "granian", "its ASGI interface, one runtime thread", _granian, lacks=NO_H3),
)
