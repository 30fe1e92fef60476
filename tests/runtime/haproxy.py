"""HAProxy that is told to send nothing again: whatever a server loses is seen."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.local import need
from tests.runtime.server import request, wait_for


@contextmanager
def haproxy(directory: Path, servers: Iterable[tuple[str, int]], check: str, *backend: str) -> Iterator[str]:
    """Run HAProxy before `servers`; yield the path of the unix socket on which it speaks HTTP/1.1.

    `check` are options of each server, `backend` are lines for all of them.
    """
    need("haproxy", package="haproxy")
    path, configuration = directory / "haproxy.socket", directory / "haproxy.cfg"
    lines = [*backend, *(f"server s{number} {host}:{port} {check}" for number, (host, port) in enumerate(servers))]
    configuration.write_text(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n  retries 0\n"
        "  retry-on none\n  http-reuse always\n"
        f"frontend f\n  bind unix@{path}\n  default_backend b\nbackend b\n"
        + "\n".join([*(f"  {line}" for line in lines), ""])
    )
    with subprocess.Popen(["haproxy", "-db", "-f", str(configuration)]) as process:
        try:
            wait_for(path.exists, "socket of HAProxy")
            yield str(path)
        finally:
            process.kill()


def answered_by(path: str) -> set[int]:
    """Return the process ids of the workers that answer through HAProxy."""
    answers = [request(path, "/") for _ in range(4)]
    return {json.loads(body)["pid"] for status, _, body in answers if status == 200}
