"""Starts the launcher as a container does, as a process of its own, and asks it things."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

RUNTIME = Path(__file__).parents[2] / "runtime"
APPLICATIONS = Path(__file__).parent / "applications"
LIMIT = 60.0
"""Seconds within which anything that a test waits for must have happened, on a slow machine under load."""


def wait_for(probe: Callable[[], Any], what: str, explain: Callable[[], str] = lambda: "", limit: float = LIMIT) -> Any:
    """Return the first true answer of `probe`; fail when there is none in time."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        answer = probe()
        if answer:
            return answer
        time.sleep(0.01)  # between two looks, not instead of one
    raise AssertionError(f"no {what} within {limit:.0f} s\n{explain()}")


class Server:
    """A launcher that runs, with its log, its events and its address."""

    def __init__(self, process: subprocess.Popen[bytes], directory: Path) -> None:
        self.process, self.directory = process, directory

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    def wait_log(self, text: str, count: int = 1) -> str:
        """Wait until `text` has been logged `count` times, and return the log."""

        def probe() -> str:
            if self.process.poll() is not None and self.log.count(text) < count:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log}")
            return self.log if self.log.count(text) >= count else ""

        return str(wait_for(probe, f"{text!r} in the log", lambda: self.log))

    def events(self, what: str) -> list[int]:
        """Return the process ids that noted `what`, in order."""
        path = self.directory / "events"
        lines = path.read_text().split("\n") if path.exists() else []
        return [int(line.split()[1]) for line in lines if line.startswith(what + " ")]

    def wait_events(self, what: str, count: int) -> list[int]:
        """Wait until `what` has been noted `count` times."""
        return list(
            wait_for(
                lambda: (found := self.events(what))[: len(found) if len(found) >= count else 0], what, lambda: self.log
            )
        )

    def serving(self) -> Server:
        """Wait until all workers serve."""
        self.wait_log("Serving ")
        return self

    def urls(self) -> list[str]:
        """Return where it serves, as the log says."""
        line = next(
            line
            for line in reversed(self.log.splitlines())
            if ("erving " in line or "listening on" in line) and "://" in line
        )
        return re.findall(r"https?://\S+?(?=,|$| )", line)

    @property
    def address(self) -> tuple[str, int]:
        return self.addresses()[0]

    def addresses(self) -> list[tuple[str, int]]:
        """Return host and port of each bind."""
        found = [re.match(r"https?://(.*):(\d+)$", url) for url in self.urls()]
        return [(match[1].replace("0.0.0.0", "127.0.0.1"), int(match[2])) for match in found if match]

    def get(self, path: str = "/", address: tuple[str, int] | None = None) -> dict[str, Any]:
        """Return the JSON of one `GET path` over a connection of its own."""
        status, _, body = request(address or self.address, path)
        assert status == 200, (status, body, self.log)
        return dict(json.loads(body))

    def release(self) -> None:
        """Have the application answer the requests that it holds, and those to come."""
        (self.directory / "events.release").touch()

    def kill(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it and return the exit status."""
        self.kill(number)
        return self.wait()

    def wait(self, limit: float = LIMIT) -> int:
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end within {limit} s:\n{self.log}") from None

    def children(self) -> list[int]:
        """Return the process ids of its workers."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]


def descendants(pid: int) -> list[int]:
    """Return all processes below `pid`."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


@contextlib.contextmanager
def launch(
    python: str,
    directory: Path,
    *arguments: str,
    command: list[str] | None = None,
    environ: Mapping[str, str] | None = None,
    stdin: int | None = None,
) -> Iterator[Server]:
    """Start the launcher with `python` in `directory`; whatever it started is gone at the end.

    `stdin` is a terminal that `command` makes its own, in a session of its own.
    """
    directory.mkdir(exist_ok=True)
    for file in APPLICATIONS.iterdir():
        target = directory / file.name
        if file.suffix == ".py" and not target.exists():
            target.write_text(file.read_text())
    base = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "COVERAGE_PROCESS_START") if name in os.environ}
    variables = {
        **base,
        "PYTHONPATH": str(directory),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": f"{Path(python).parent}:{base.get('PATH', '')}",
        "EVENTS": str(directory / "events"),
        "STATE_DIRECTORY": str(directory),
        "MODULE_NAME": "main",
        "HOST": "127.0.0.1",
        "TCP_PORT": "0",
        "WEB_CONCURRENCY": "2",
        "GRACEFUL_TIMEOUT": "120",  # whoever waits for it waits in vain: LIMIT is shorter
        "PRELOAD_PACKAGES": "hypercorn",  # not FastAPI, which takes longer to import than the server to start
        **(environ or {}),
    }
    full = command or [python, str(RUNTIME / "opt/hypercorn/serve.py")]
    with (directory / "log").open("ab") as log:
        process = subprocess.Popen(
            [*full, *arguments],
            cwd=directory,
            env={name: value for name, value in variables.items() if value != "(unset)"},
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            start_new_session=stdin is None,
        )
    try:
        yield Server(process, directory)
    finally:
        left = [process.pid, *descendants(process.pid)]
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def request(
    address: tuple[str, int] | str,
    path: str = "/",
    sock: socket.socket | None = None,
    close: bool = True,
    method: str = "GET",
) -> tuple[int, dict[str, str], bytes]:
    """Make one HTTP/1.1 request over a socket and return status, headers and body; raises OSError or EOFError."""
    mine = sock is None
    if sock is None:
        sock = connect(address)
    try:
        last = "connection: close\r\n" if close else ""
        sock.sendall(f"{method} {path} HTTP/1.1\r\nhost: test\r\n{last}\r\n".encode())
        return response(sock)
    finally:
        if mine:
            sock.close()


def connect(address: tuple[str, int] | str) -> socket.socket:
    """Connect to a host and port or to a unix socket's path."""
    if isinstance(address, tuple):
        return socket.create_connection(address, timeout=LIMIT)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(LIMIT)
    sock.connect(address)
    return sock


def unverified_tls() -> ssl.SSLContext:
    """Return the TLS of a client that verifies no certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def response(sock: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Read one response; raises EOFError when the connection ends before it is whole."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(sock)
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", "0"))
    while len(body) < length:
        body += _more(sock)
    return int(first.split()[1]), headers, body


def _more(sock: socket.socket) -> bytes:
    data = sock.recv(65536)
    if not data:
        raise EOFError("the connection ended before the response was whole")
    return data
