"""A server that runs for a case, from its start until nothing of it is left."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench import machine
from tests.bench.cases import UPLOAD, Case
from tests.bench.loads import Failed
from tests.bench.servers import HOST, Place, Server
from tests.runtime.server import unverified_tls

APPLICATIONS = Path(__file__).parent / "applications"
START = 30.0
"""Seconds that a server gets for its start."""


@dataclass(frozen=True)
class Running:
    """A server that has been started."""

    server: Server
    case: Case
    place: Place
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> Path:
        return self.place.folder / "log"

    def wait_until_right(self) -> None:
        """Wait until it gives the right answer. Raises Failed when it does not."""
        deadline, why = time.monotonic() + START, "nothing"
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                return self._check()
            except (OSError, http.client.HTTPException) as error:
                why = str(error) or type(error).__name__
            time.sleep(0.02)  # between two looks
        last = self.log.read_text(errors="replace").strip().splitlines()[-1:]
        raise Failed(f"did not start: {' '.join(last) or why}")

    def _check(self) -> None:
        case = self.case
        path = "/10b" if case.protocol == "websocket" else case.path
        body = bytes(UPLOAD) if case.uploads else None
        connection = self._connection()
        with contextlib.closing(connection):
            connection.request("POST" if case.uploads else "GET", path, body)
            answer = connection.getresponse()
            data = answer.read()
        if case.uploads:
            right = int(data or 0) == UPLOAD
        else:
            right = case.protocol == "websocket" or len(data) == (case.size or len(data))
        if answer.status != 200 or not right:
            raise Failed(f"status {answer.status}, {len(data)} bytes")

    def _connection(self) -> http.client.HTTPConnection:
        if not self.case.tls:
            return http.client.HTTPConnection(HOST, self.place.port, timeout=5)
        return http.client.HTTPSConnection(HOST, self.place.port, timeout=5, context=unverified_tls())

    def end(self) -> None:
        """End it and all that it has started."""
        while left := machine.members(self.process.pid):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)  # until the kernel has ended them
        self.process.wait()


def variables(server: Server, case: Case, place: Place) -> dict[str, str]:
    """Return a server's environment."""
    usual = {name: os.environ[name] for name in ("HOME", "LANG", "PATH") if name in os.environ}
    more = {f"MORE_{number}": "x" * 20 for number in range(case.more_variables)}
    return {**usual, "PYTHONPATH": str(APPLICATIONS), **more, **server.variables(case, place)}


def start(server: Server, case: Case, place: Place) -> Running:
    """Start a server in a session of its own, which a terminal's Ctrl-C does not reach."""
    place.folder.mkdir(parents=True, exist_ok=True)
    cores = machine.cores(case.workers)
    with (place.folder / "log").open("wb") as log:
        process = subprocess.Popen(
            machine.pinned(server.command(case, place), cores and cores[0]),
            cwd=APPLICATIONS,
            env=variables(server, case, place),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return Running(server, case, place, process)
