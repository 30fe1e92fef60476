"""HTTP/2's good-bye, seen by clients that know nothing of us: no answer is missing when workers are replaced or stop.

A request with a higher number than the GOAWAY names may be sent again (RFC 9113, 6.8). httpx leaves that to its caller
where the request is an upload; it is counted, and there is at most one for each connection and replacement.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.runtime.h2client import fetch_all
from tests.runtime.launching import Launch, every_class
from tests.runtime.server import APPLICATIONS, LIMIT, Server

FULL = bool(os.environ.get("FULL"))
RELOADS = 50 if FULL else 3
REST = 0 if FULL else 0.02  # seconds between a client's requests: the processor is for the server


class Clients:
    """HTTP/2 clients of httpx, each with a connection of its own, that send one request after another."""

    def __init__(self, one: Server, count: int, path: str = "/", body: bytes = b"") -> None:
        self.answered, self.again, self.lost = 0, 0, [""][:0]
        self._url = "http://{}:{}{}".format(*one.address, path)
        self._body, self._stop, self._lock = body, threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        last = 0  # the stream that was answered last
        with httpx.Client(http1=False, http2=True, verify=False, timeout=LIMIT) as client:
            while not self._stop.is_set():
                try:
                    answer = client.request("POST" if self._body else "GET", self._url, content=self._body or None)
                except httpx.HTTPError as error:
                    named = re.search(r"last_stream_id:(\d+)", str(error))
                    with self._lock:
                        if named and int(named[1]) == last:
                            self.again += 1
                        else:
                            self.lost.append(repr(error))
                else:
                    with self._lock:
                        self.answered += answer.status_code == 200
                    last = answer.extensions["stream_id"]
                self._stop.wait(REST)


def served(clients: Clients, more: int = 20) -> None:
    """Wait until that many more requests have been answered."""
    goal = clients.answered + more
    while clients.answered < goal and not clients.lost:
        time.sleep(0.01)


@every_class
@pytest.mark.parametrize("body", [b"", b"x" * 200_000], ids=["gets", "uploads"])
def test_reloads_lose_no_request_of_clients_that_send_one_after_another(
    server: Launch, worker_class: str, body: bytes
) -> None:
    with server(WORKER_CLASS=worker_class, ACCESS_LOG="") as one:
        one.serving()
        with Clients(one, 4, "/", body) as clients:
            for count in range(1, RELOADS + 1):
                served(clients)
                one.kill(signal.SIGHUP)
                one.wait_log("Reload complete", count)
            served(clients)
        assert clients.lost == []
        assert clients.again <= 4 * RELOADS
        assert one.stop() == 0


@every_class
def test_max_requests_loses_no_request(server: Launch, worker_class: str) -> None:
    requests = 20_000 if FULL else 300
    with server(WORKER_CLASS=worker_class, MAX_REQUESTS="50", ACCESS_LOG="") as one:
        one.serving()
        with Clients(one, 4) as clients:
            served(clients, requests)
        assert clients.lost == []
        assert one.log.count("reached max_requests (50)") >= 2


@every_class
def test_requests_of_one_connection_that_are_in_progress_at_a_stop_are_answered(
    server: Launch, worker_class: str
) -> None:
    with server(WEB_CONCURRENCY="1", WORKER_CLASS=worker_class) as one:
        one.serving()
        sizes: list[int | None] = []
        paths = ["/slow?seconds=1"] * 20
        thread = threading.Thread(target=lambda: sizes.extend(fetch_all(one.address, paths)))
        thread.start()
        one.wait_events("slow", 20)
        assert one.stop() == 0
        thread.join()
        assert len(sizes) == 20
        assert None not in sizes


def test_scopes_can_be_copied(server: Launch, tmp_path: Path) -> None:
    """Hypercorn's own ProxyFixMiddleware copies them deeply."""
    (tmp_path / "proxied.py").write_text(
        "from hypercorn.middleware import ProxyFixMiddleware\nimport main\n"
        "app = ProxyFixMiddleware(main.app, mode='legacy', trusted_hops=1)\n"
    )
    path = f"{tmp_path}:{APPLICATIONS}"
    with server(MODULE_NAME="proxied", PYTHONPATH=path) as one:
        one.serving()
        assert None not in fetch_all(one.address, ["/"] * 3)
        with httpx.Client(http1=False, http2=True) as client:
            assert client.get("http://{}:{}/".format(*one.address)).status_code == 200
