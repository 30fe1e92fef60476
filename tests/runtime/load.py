"""Load that counts: every request sent, every answer received, on connections of its own or kept alive.

It has a pace: the processor is for the server, and for the other tests.
"""

from __future__ import annotations

import select
import socket
import threading
from collections import Counter
from dataclasses import dataclass, field

from tests.runtime.server import connect, response

PACE = 400
"""Requests that all threads together begin in a second, at most."""


@dataclass
class Load:
    """Threads that send requests to `address` until told to stop, or until nobody listens any more."""

    address: tuple[str, int] | str
    path: str = "/"
    keep_alive: bool = False
    threads: int = 4
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(self.threads)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def finish(self) -> Counter[str]:
        """End it and return how many requests were `sent` and `answered`, and how often a connection was `refused`."""
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        return self.counts

    @property
    def lost(self) -> int:
        return self.counts["sent"] - self.counts["answered"]

    def _count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                sock = connect(self.address)
            except OSError as error:
                self._count("refused")
                self.failures.append(f"connect: {error!r}")
                if isinstance(error, ConnectionRefusedError):
                    self._stop.wait(0.01)
                continue
            with sock:
                self._talk(sock)
            self._rest()

    def _rest(self) -> None:
        self._stop.wait(self.threads / PACE)

    def _talk(self, sock: socket.socket) -> None:
        last = "" if self.keep_alive else "connection: close\r\n"
        while not self._stop.is_set() and not has_ended(sock):
            try:
                self._count("sent")
                sock.sendall(f"GET {self.path} HTTP/1.1\r\nhost: test\r\n{last}\r\n".encode())
                status, headers, _ = response(sock)
            except (OSError, EOFError) as error:
                self.failures.append(repr(error))
                return
            if status == 200:
                self._count("answered")
            else:
                self.failures.append(f"status {status}")
            if headers.get("connection") == "close" or not self.keep_alive:
                return
            self._rest()


def has_ended(sock: socket.socket) -> bool:
    """Tell whether the other side has closed a connection: clients look before they use it again."""
    readable, _, _ = select.select([sock], [], [], 0)
    return bool(readable) and sock.recv(1, socket.MSG_PEEK) == b""
