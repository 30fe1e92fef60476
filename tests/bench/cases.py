"""What is measured: the table of cases that everything else is driven by."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from imagematrix.errors import InputError, allowed_instead

UPLOAD = 100_000
"""Bytes of an upload."""


@dataclass(frozen=True)
class Case:
    """One way to ask a server. `clients` is how connections are made: kept, new for each request, or resumed (TLS)."""

    name: str
    what: str
    path: str
    size: int
    """Bytes of the body that is sent or answered; 0 if servers may differ."""
    protocol: str = "http/1.1"
    """`http/1.1`, `h2`, `h3` or `websocket`."""
    tls: bool = False
    clients: str = "kept"
    workers: int = 1
    loop: str = "uvloop"
    access_log: bool = False
    more_variables: int = 0
    """How many environment variables the server has beside the usual ones."""

    @property
    def feature(self) -> str:
        """What a server must have for it."""
        return "h2c" if self.protocol == "h2" and not self.tls else self.protocol

    @property
    def application(self) -> str:
        """The application's module."""
        return "framework" if self.path == "/json" else "plain"

    @property
    def uploads(self) -> bool:
        return self.path == "/upload"


def _sizes(prefix: str, what: str, protocol: str, tls: bool = False) -> list[Case]:
    paths = {"10b": ("10 B", 10), "10k": ("10 KB", 10_000), "1m": ("1 MB", 1_000_000)}
    return [
        Case(f"{prefix}-{path}", f"{what}, {words}", f"/{path}", size, protocol, tls)
        for path, (words, size) in paths.items()
    ]


def _uploads(prefix: str, what: str, protocol: str, tls: bool = False) -> Case:
    return Case(f"{prefix}-upload", f"{what}, upload of 100 KB", "/upload", UPLOAD, protocol, tls)


def _10k(name: str, what: str, **options: object) -> Case:
    return Case(name, f"{what}, 10 KB", "/10k", 10_000, **options)  # type: ignore[arg-type]


TABLE = (
    *_sizes("http1", "HTTP/1.1", "http/1.1"),
    _uploads("http1", "HTTP/1.1", "http/1.1"),
    Case("http1-json", "HTTP/1.1, JSON by FastAPI", "/json", 0),
    _10k("http1-new", "HTTP/1.1, a connection for each request", clients="new"),
    _10k("http1-log", "HTTP/1.1, access log", access_log=True),
    _10k("http1-log-env", "HTTP/1.1, access log, 100 more environment variables", access_log=True, more_variables=100),
    _10k("http1-asyncio", "HTTP/1.1, asyncio", loop="asyncio"),
    _10k("http1-log-asyncio", "HTTP/1.1, asyncio, access log", access_log=True, loop="asyncio"),
    Case("websocket", "WebSocket, echo of 100 B", "/echo", 100, "websocket"),
    _10k("https", "HTTP/1.1, TLS 1.3", tls=True),
    _10k("https-new", "TLS 1.3, a full handshake for each request", tls=True, clients="new"),
    _10k("https-resumed", "TLS 1.3, a resumed session for each request", tls=True, clients="resumed"),
    *_sizes("h2c", "HTTP/2 without TLS", "h2"),
    _uploads("h2c", "HTTP/2 without TLS", "h2"),
    Case("h2c-json", "HTTP/2 without TLS, JSON by FastAPI", "/json", 0, "h2"),
    _10k("h2c-asyncio", "HTTP/2 without TLS, asyncio", protocol="h2", loop="asyncio"),
    *_sizes("h2", "HTTP/2", "h2", tls=True),
    _uploads("h2", "HTTP/2", "h2", tls=True),
    _10k("h3", "HTTP/3", protocol="h3", tls=True),
    _10k("http1-10k-2w", "HTTP/1.1, 2 workers", workers=2),
    Case("http1-json-2w", "HTTP/1.1, JSON by FastAPI, 2 workers", "/json", 0, workers=2),
    _10k("http1-log-2w", "HTTP/1.1, access log, 2 workers", access_log=True, workers=2),
    _10k(
        "https-resumed-2w",
        "TLS 1.3, a resumed session for each request, 2 workers",
        tls=True,
        clients="resumed",
        workers=2,
    ),
    _10k("h2c-10k-2w", "HTTP/2 without TLS, 2 workers", protocol="h2", workers=2),
    _10k("h2-10k-2w", "HTTP/2, 2 workers", protocol="h2", tls=True, workers=2),
)


def chosen(patterns: str) -> list[Case]:
    """Return the cases that any of the patterns matches, which stand between commas; no pattern matches all.

    Raises InputError for a pattern that matches none.
    """
    names = [case.name for case in TABLE]
    wanted = patterns.replace(",", " ").split()
    for pattern in wanted:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise InputError(f"ONLY={pattern}: no case has this name; {allowed_instead(pattern, names)}")
    return [case for case in TABLE if not wanted or any(fnmatchcase(case.name, pattern) for pattern in wanted)]
