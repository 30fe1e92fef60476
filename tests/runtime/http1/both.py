"""Plain Hypercorn and the fast path, each on an event loop in a thread of its own, and a client that compares them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import re
import socket
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import hypercorn.asyncio
from hypercorn.config import Config
from hypercorn.logging import AccessLogAtoms, Logger
from hypercorn_image.worker.http1.connection import Connection, Http1
from hypercorn_image.worker.loop import loop_class

from tests.runtime.http1.application import Application, Events

SENTINEL = b"GET /echo?sentinel HTTP/1.1\r\nHost: sentinel\r\nConnection: close\r\n\r\n"
"""Follows each case: what becomes of it says in which state the case left the connection."""
QUIET = 0.25  # seconds without an answer after which the client ends its side
IDLE = 2  # seconds after which the server closes; some cases end in this way
TRIES = 5  # for a difference: in both, what comes first of two things at once is a matter of chance
_NO_STATUS = re.compile(r" 1\.[01] - - ")
_DATE = re.compile(rb"\r\ndate: [^\r]+")


@dataclass(frozen=True)
class Case:
    """What a client sends: `pieces` one after another, then the sentinel or, with `ends`, the end of its side."""

    name: str
    pieces: tuple[bytes, ...]
    ends: bool = False

    @property
    def closes(self) -> bool:
        """Whether it asks the server to close: nothing may follow."""
        return b"close" in b"".join(self.pieces).lower()


class Outcome(NamedTuple):
    """What a case has led to."""

    answer: bytes
    end: str
    events: Events
    log: list[str]


@dataclass
class Side:
    """One server."""

    address: tuple[str, int]
    application: Application
    lines: dict[int, list[str]]
    stop: Any = field(repr=False)

    def run(self, case: Case, quiet: float = QUIET) -> Outcome:
        """Send a case and return what it has led to."""
        with socket.create_connection(self.address) as client:
            port = client.getsockname()[1]
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answer, end = _talk(client, case, quiet)
        self._settle(port)
        events, lines = self.application.seen.pop(port, []), self.lines.pop(port, [])
        if case.ends:  # its end may be seen before the answer has been sent, or after it
            events = [event for event in events if event != {"type": "http.disconnect"}]
            lines = [line for line in lines if not _NO_STATUS.search(line)]
        return Outcome(_DATE.sub(b"\r\ndate: DATE", answer), end, events, lines)

    def _settle(self, port: int) -> None:
        """Wait until nothing more is noted: the server may do something yet once the client has gone."""
        before = None
        while (now := (len(self.application.seen[port]), len(self.lines[port]))) != before:
            before = now
            threading.Event().wait(0.02)


def _talk(client: socket.socket, case: Case, quiet: float) -> tuple[bytes, str]:
    answer = b""
    try:
        for number, piece in enumerate(case.pieces):
            if number:
                _rest()
            client.sendall(piece)
        _rest()
        if case.ends:
            client.shutdown(socket.SHUT_WR)
        elif not case.closes:
            client.sendall(SENTINEL)
        client.settimeout(quiet)
        while True:
            try:
                data = client.recv(1 << 16)
            except TimeoutError:
                client.settimeout(30)
                client.shutdown(socket.SHUT_WR)
                continue
            if not data:
                return answer, "closed"
            answer += data
    except OSError:
        return answer, "closed"  # how it closes depends on what of the client's is unread then


def _rest() -> None:
    """Give the server the time to read what was sent: where that is too short, two pieces are one."""
    threading.Event().wait(0.003)


class _Logger(Logger):
    """Keeps the lines of the access log, by the client's port."""

    lines: dict[int, list[str]]

    async def access(self, request: Any, response: Any, request_time: float) -> None:
        atoms = AccessLogAtoms(request, response, request_time)
        line = " ".join(str(atoms[name]) for name in ("l", "r", "R", "s", "st", "b", "f", "a", "S", "H", "m", "q"))
        self.lines[request["client"][1]].append(line)


def difference(plain: Side, fast: Side, case: Case) -> str:
    """Return what is different, or nothing where the fast path does something that plain Hypercorn does too."""
    expected: list[Outcome] = []
    found: list[Outcome] = []
    for number in range(TRIES):
        quiet = QUIET * (1 + 2 * number)
        expected.append(plain.run(case, quiet))
        found.append(fast.run(case, quiet))
        if any(one in expected for one in found):
            return ""
    return f"{case}\nHypercorn: {expected[-1]}\nfast path: {found[-1]}"


@contextlib.contextmanager
def serving(fast: bool, worker_class: str = "asyncio", **options: Any) -> Iterator[Side]:
    """Serve with the fast path or with plain Hypercorn."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=1000)
    address = listening.getsockname()
    lines: dict[int, list[str]] = defaultdict(list)
    defaults = {"accesslog": None, "errorlog": None, "keep_alive_max_requests": 10**9, "keep_alive_timeout": IDLE}
    config = Config.from_mapping({**defaults, **options})
    config.bind = [f"fd://{listening.detach()}"]
    config.logger_class = type("CaseLogger", (_Logger,), {"lines": lines})
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    application = Application()
    started = threading.Event()
    side: list[Side] = []

    def run() -> None:
        loop = loop_class(worker_class)()
        stopping = asyncio.Event()
        http1 = Http1(application, config, {}, loop) if fast else None
        loop.ours = {int(config.bind[0][5:])}
        loop.front = functools.partial(Connection, http1) if http1 is not None else None

        async def trigger() -> None:
            stop = functools.partial(loop.call_soon_threadsafe, stopping.set)
            side.append(Side(address, application, lines, stop))
            started.set()
            await stopping.wait()
            if http1 is not None:
                http1.terminate()

        config.graceful_timeout = 1
        loop.run_until_complete(hypercorn.asyncio.serve(application, config, shutdown_trigger=trigger, mode="asgi"))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(30)
    try:
        yield side[0]
    finally:
        side[0].stop()
        thread.join(30)
