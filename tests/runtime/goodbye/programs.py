"""Clients that are programs: curl, h2load of nghttp2, Node."""

from __future__ import annotations

import asyncio
import json
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.local import need
from tests.runtime.goodbye.counts import Clients
from tests.runtime.goodbye.tap import tap


@asynccontextmanager
async def running(*command: str, stdin: int = asyncio.subprocess.DEVNULL) -> AsyncIterator[Process]:
    """Run a program; it has ended after the block."""
    process = await asyncio.create_subprocess_exec(*command, stdin=stdin, stdout=PIPE, stderr=PIPE, limit=2**20)
    try:
        yield process
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()


class Curl(Clients):
    """`curl --parallel` over TLS, a process for each connection. It sends what was refused again by itself."""

    async def run(self) -> None:
        need("curl", package="curl")
        await asyncio.gather(*[self._processes() for _ in range(self.traffic.connections)])

    async def _processes(self) -> None:
        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(self.traffic.body)
            url = next(url for url in self.urls if url.startswith("https:"))
            command = [
                *("curl", "-skv", "--http2", "--parallel", "--parallel-max", str(self.traffic.at_once)),
                *("-o", "/dev/null", "-w", "%{exitcode} %{http_code} %{size_download} %{num_connects}\n"),
                *(["--data-binary", f"@{file.name}"] if self.traffic.body else []),
                f"{url}{self.traffic.path}&n=[1-{self.traffic.at_once * 10}]",
            ]
            while not self.stopping:
                async with running(*command) as process:
                    await asyncio.gather(self._count(process), self._count_again(process))

    async def _count(self, process: Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            *outcome, connects = line.decode().split()
            self.counts.sent += 1
            self.counts.connections += int(connects)
            if outcome == ["0", "200", str(self.traffic.size)]:
                self.counts.answered += 1
            else:
                self.counts.lost.append(f"exit code, status and size are {outcome}")

    async def _count_again(self, process: Process) -> None:
        """Count what curl sends again: what was refused, and what it should not have to."""
        assert process.stderr is not None
        async for line in process.stderr:
            if b"retrying a fresh connect" not in line:
                continue
            self.counts.sent += 1
            if b"REFUSED_STREAM" in line:
                self.counts.again += 1
            else:
                self.counts.lost.append(line.decode())


class H2load(Clients):
    """`h2load` of nghttp2. It does not tell what was refused from what was lost, and never sends again."""

    async def run(self) -> None:
        need("h2load", package="nghttp2-client")
        host, port = self.cleartext.removeprefix("http://").split(":")
        connections, at_once = self.traffic.connections, self.traffic.at_once
        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(self.traffic.body)
            async with tap((host, int(port)), self.counts) as (host, port):
                command = [
                    *("h2load", "-n", str(connections * at_once * 20), "-c", str(connections), "-m", str(at_once)),
                    *(["-d", file.name] if self.traffic.body else []),
                    f"http://{host}:{port}{self.traffic.path}",
                ]
                while not self.stopping:
                    async with running(*command) as process:
                        self._check(*await process.communicate())

    def _check(self, output: bytes, error: bytes) -> None:
        """All answers that came have the right status: h2load counts those that it never sent as failed."""
        line = next((line for line in output.splitlines() if line.startswith(b"status codes:")), error)
        if not line.endswith(b" 2xx, 0 3xx, 0 4xx, 0 5xx"):
            self.counts.lost.append(line.decode())


class Node(Clients):
    """Node's own client, see at_once.js."""

    async def run(self) -> None:
        need("node", package="nodejs")
        program, traffic = str(Path(__file__).parent / "at_once.js"), self.traffic
        numbers = [str(number) for number in (traffic.connections, traffic.at_once, traffic.size, len(traffic.body))]
        async with running("node", program, self.cleartext, traffic.path, *numbers, stdin=PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            async for line in process.stdout:
                vars(self.counts).update(json.loads(line))
                if self.stopping:
                    process.stdin.close()
