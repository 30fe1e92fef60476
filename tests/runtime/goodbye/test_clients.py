"""The good-bye of HTTP/2 and HTTP/3, seen by clients that know nothing of us: no request is lost.

Each request is counted: it is answered, or the server says by the RFC that it has not begun it (RFC 9113, 6.8 and 8.7;
RFC 9114, 5.2), or it is lost. A connection has at most one of the second kind when its worker is replaced. HAProxy is
told to send nothing again, so it has none.

By default each client has one kind of traffic. FULL=1 runs all; the worker classes take turns.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.local import free_port
from tests.runtime.certificates import Authority
from tests.runtime.goodbye.counts import Clients, Traffic
from tests.runtime.goodbye.disturbances import Stoppable, reload, stop, wear_out
from tests.runtime.goodbye.libraries import Http1, Http3, Httpx, Proxied
from tests.runtime.goodbye.programs import Curl, H2load, Node
from tests.runtime.haproxy import haproxy
from tests.runtime.launching import CLASSES, Launch

FULL = bool(os.environ.get("FULL"))
RELOADS = int(os.environ.get("RELOADS", "50" if FULL else "1"))
REQUESTS = 20_000 if FULL else 150
ONE, MANY, CROWD = (4, 1), (4, 50), (100, 1)
"""Connections, and requests at once on each."""
SHAPES: dict[type[Clients], list[tuple[int, int]]] = {
    Httpx: [MANY, ONE, CROWD],
    H2load: [CROWD, ONE, MANY],
    Curl: [MANY],
    Node: [ONE, MANY, CROWD],
    Http3: [MANY, ONE, CROWD],
    Proxied: [CROWD, ONE],
    Http1: [ONE],
}
"""The first is the one that runs by default. `curl --parallel` is always many; a proxy does as it likes."""
ASKED = {
    "gets": ("/?size=100", 100, b""),
    "streams": ("/stream?pieces=4&size=5000&seconds=0.01", 20_000, b""),
    "uploads": ("/?size=100", 100, b"x" * 100_000),
}
"""Path, size of the answer, body of the request."""


class Case(NamedTuple):
    """Clients, what they send, and the worker class that they send it to."""

    clients: type[Clients]
    shape: tuple[int, int]
    asked: str
    worker_class: str

    @property
    def traffic(self) -> Traffic:
        path, size, body = ASKED[self.asked]
        return Traffic(*self.shape, path, size, body)

    def __str__(self) -> str:
        return "-".join([self.clients.__name__.lower(), "{}x{}".format(*self.shape), self.asked, self.worker_class])


def cases(asked: list[str], of: Iterable[type[Clients]] = SHAPES) -> list[Case]:
    """Return all cases with FULL, else the first shape of each client; what is asked takes turns then."""
    found = []
    for number, clients in enumerate(of):
        for (place, shape), (what, name) in itertools.product(enumerate(SHAPES[clients]), enumerate(asked)):
            if FULL or (place, what) == (0, number % len(asked)):
                found.append(Case(clients, shape, name, CLASSES[(number // 3 + place + what) % len(CLASSES)]))
    return found


def run(server: Launch, case: Case, directory: Path, **settings: Any) -> None:
    tls = {**Authority(directory / "certificates").tls(), "QUIC_BIND": "127.0.0.1:0"}
    with server(WORKER_CLASS=case.worker_class, ACCESS_LOG="", **tls, **settings) as one:
        urls = one.serving().urls()
        address = next(address for address, url in zip(one.addresses(), urls, strict=True) if url.startswith("http:"))
        with haproxy(directory, [address], "proto h2") if case.clients is Proxied else nullcontext() as path:
            clients = case.clients(case.traffic, [path] if path else urls)
            if "MAX_REQUESTS" in settings:
                asyncio.run(wear_out(clients, REQUESTS))
            else:
                asyncio.run(reload(one, clients, RELOADS))
        judge(clients, case, f"{one.log.count(') replaces worker (')} workers replaced")
        assert one.stop() == 0


def judge(clients: Clients, case: Case, replaced: str) -> None:
    counts = clients.counts
    print(f"{case}: {counts}; {replaced}")
    assert counts.lost == []
    assert counts.sent == counts.answered + counts.again
    assert counts.again <= counts.connections * clients.again_for_each_connection


@pytest.mark.parametrize("case", cases([*ASKED]), ids=str)
def test_reloads(server: Launch, case: Case, tmp_path: Path) -> None:
    run(server, case, tmp_path)


@pytest.mark.parametrize("case", cases(["gets"]), ids=str)
def test_max_requests(server: Launch, case: Case, tmp_path: Path) -> None:
    run(server, case, tmp_path, MAX_REQUESTS=50)


@pytest.mark.parametrize("case", cases([*ASKED], [Proxied]), ids=str)
def test_stops_behind_a_proxy(python: str, case: Case, tmp_path: Path) -> None:
    """HAProxy may connect to the other server where the first refuses; what it has sent it does not send again."""
    settings = {"WORKER_CLASS": case.worker_class, "ACCESS_LOG": ""}
    ports = [free_port(), free_port()]
    retries = ("retries 3", "retry-on conn-failure", "option redispatch 1")
    servers = [Stoppable(python, tmp_path, port, **settings) for port in ports]
    with servers[0] as one, servers[1]:
        addresses = [("127.0.0.1", port) for port in ports]
        with haproxy(tmp_path, addresses, "proto h2 check inter 100ms fall 1 rise 1", *retries) as path:
            clients = Proxied(case.traffic, [path])
            asyncio.run(stop(one, path, clients, RELOADS))
        judge(clients, case, f"{one.starts - 1} stops")
