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


class Tapped(Clients):
    """A program that says too little of what it could not do: `tap` counts for it."""

    tls = False

    async def run(self) -> None:
        host, port = self.url.split("//")[1].split(":")
        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(self.traffic.body)
            async with tap((host, int(port)), self.counts, self.tls) as found:
                await self.send("{}:{}".format(*found), file.name)

    @property
    def url(self) -> str:
        return self.cleartext

    async def send(self, address: str, body: str) -> None:
        """Send to `address`, and the file `body` where there is one to upload, until `stopping`."""
        raise NotImplementedError


class Curl(Tapped):
    """`curl --parallel` over TLS, a process for each connection. It sends what was refused again by itself.

    Once it has heard GOAWAY, curl 7.88 gives up some requests that it has not sent yet: "(16) Error in the HTTP2
    framing layer", or "(56) Connection died, tried 5 times". So it does with nginx that reloads (curl issue 5611).
    """

    tls = True

    @property
    def url(self) -> str:
        return next(url for url in self.urls if url.startswith("https:"))

    async def send(self, address: str, body: str) -> None:
        need("curl", package="curl")
        command = [
            *("curl", "-sk", "--http2", "--parallel", "--parallel-max", str(self.traffic.at_once)),
            *("-o", "/dev/null", "-w", "%{exitcode} %{http_code} %{size_download}\n"),
            *(["--data-binary", f"@{body}"] if self.traffic.body else []),
            f"https://{address}{self.traffic.path}&n=[1-{self.traffic.at_once * 2}]",
        ]
        await asyncio.gather(*[self._processes(command) for _ in range(self.traffic.connections)])

    async def _processes(self, command: list[str]) -> None:
        while not self.stopping:
            async with running(*command) as process:
                output, _ = await process.communicate()
            for outcome in output.decode().splitlines():
                if outcome not in (f"0 200 {self.traffic.size}", "16 000 0", "56 000 0"):
                    self.counts.lost.append(f"curl's exit code, status and size are {outcome}")


class H2load(Tapped):
    """`h2load` of nghttp2. It does not tell what was refused from what was lost, and never sends again."""

    async def send(self, address: str, body: str) -> None:
        need("h2load", package="nghttp2-client")
        connections, at_once = self.traffic.connections, self.traffic.at_once
        command = [
            *("h2load", "-n", str(connections * at_once * 20), "-c", str(connections), "-m", str(at_once)),
            *(["-d", body] if self.traffic.body else []),
            f"http://{address}{self.traffic.path}",
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
