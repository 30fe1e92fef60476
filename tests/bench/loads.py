"""The clients: which program asks for a case, how it is called and what its output says."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imagematrix.machine import apt
from tests.bench.cases import UPLOAD, Case

CONNECTIONS = 32
"""Of HTTP/1.1 and WebSocket clients."""
H2_CONNECTIONS, H2_STREAMS = 8, 8
H3_CONNECTIONS, H3_STREAMS = 4, 4
HANDSHAKES = 8
"""Threads that make TLS connections."""
PACKAGES = ("wrk", "nghttp2-client")
"""Debian's packages of wrk and h2load."""


class Failed(Exception):
    """A server did not do what a case asks; the message is what stands in its cell."""


@dataclass(frozen=True)
class Count:
    """What a client saw: answers, the seconds that it took, and how many of its TLS sessions were resumed."""

    requests: int
    seconds: float
    resumed: float | None = None
    """A share; None where no session was offered."""


@dataclass(frozen=True)
class Load:
    """A client: its name, its command and what reads its output. `read` raises Failed."""

    program: str
    command: list[str]
    read: Callable[[str], Count]


def install() -> None:
    """Have wrk and h2load on this machine. Raises UserError where they cannot be installed."""
    apt.install_packages(PACKAGES, "the benchmark")


def load(case: Case, port: int, seconds: float, folder: Path) -> Load:
    """Return the client for a case, which asks for about so many seconds."""
    if case.protocol == "websocket":
        return _own("websocket", port, seconds, str(case.size), str(CONNECTIONS))
    if case.protocol == "h3":
        return _own("http3", port, seconds, case.path, str(H3_CONNECTIONS), str(H3_STREAMS))
    if case.tls and case.clients != "kept":
        return _own("handshakes", port, seconds, case.path, str(HANDSHAKES), case.clients)
    scheme = "https" if case.tls else "http"
    url = f"{scheme}://127.0.0.1:{port}{case.path}"
    return _h2load(case, url, seconds, folder) if case.protocol == "h2" else _wrk(case, url, seconds, folder)


def _own(module: str, port: int, seconds: float, *more: str) -> Load:
    command = [sys.executable, "-m", f"tests.bench.clients.{module}", "127.0.0.1", str(port), str(seconds), *more]
    return Load(module, command, _read_own)


def _wrk(case: Case, url: str, seconds: float, folder: Path) -> Load:
    # It takes whole seconds only.
    command = ["wrk", f"-t{case.workers}", f"-c{CONNECTIONS}", f"-d{math.ceil(seconds)}s"]
    if case.clients == "new":
        command += ["-H", "Connection: close"]
    if case.uploads:
        script = folder / "upload.lua"
        script.write_text(f'wrk.method = "POST"\nwrk.body = string.rep("x", {UPLOAD})\n')
        command += ["-s", str(script)]
    return Load("wrk", [*command, url], _read_wrk)


def _h2load(case: Case, url: str, seconds: float, folder: Path) -> Load:
    clients = [f"-c{H2_CONNECTIONS * case.workers}", f"-m{H2_STREAMS}", f"-t{case.workers}"]
    command = ["h2load", *clients, "-D", f"{math.ceil(seconds * 1000)}ms"]
    if case.uploads:
        body = folder / "upload"
        body.write_bytes(bytes(UPLOAD))
        command += ["-d", str(body)]
    return Load("h2load", [*command, url], lambda output: _read_h2load(output, case.feature))


def _read_own(output: str) -> Count:
    found = json.loads(output)
    if found["failed"]:
        raise Failed(f"{found['failed']} of {found['failed'] + found['requests']} requests failed")
    resumed = found["resumed"] / found["offered"] if found.get("offered") else None
    return Count(found["requests"], found["seconds"], resumed)


def _read_wrk(output: str) -> Count:
    wrong = re.search(r"Socket errors: (.*)|Non-2xx or 3xx responses: \d+", output)
    if wrong:
        raise Failed(" ".join(wrong[0].split()).lower())
    (requests,) = _groups(r"(\d+) requests in ", output)
    (rate,) = _groups(r"Requests/sec: +([\d.]+)", output)
    return _at_rate(int(requests), float(rate))


def _read_h2load(output: str, protocol: str) -> Count:
    if f"Application protocol: {protocol}" not in output:
        raise Failed(f"did not speak {protocol}")
    (rate,) = _groups(r"finished in [^,]+, ([\d.]+) req/s", output)
    succeeded, failed, errored, timed_out = _groups(
        r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output
    )
    (good,) = _groups(r"status codes: (\d+) 2xx", output)
    if int(failed) or int(errored) or int(timed_out) or int(good) < int(succeeded):
        without = max(int(failed), int(errored) + int(timed_out)) + max(0, int(succeeded) - int(good))
        raise Failed(f"{without} requests failed")
    return _at_rate(int(succeeded), float(rate))


def _at_rate(requests: int, rate: float) -> Count:
    """Return what was counted. wrk and h2load say the seconds in units that change, the requests per second not."""
    return Count(requests, requests / rate if rate else 0.0)


def _groups(pattern: str, output: str) -> tuple[str, ...]:
    found = re.search(pattern, output)
    if found is None:
        raise Failed(f"the client says: {' '.join(output.split())[-100:]}")
    return found.groups()
