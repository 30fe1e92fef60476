"""What makes workers leave while clients send: reloads, MAX_REQUESTS, stops of one server of two behind a proxy."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from tests.runtime.goodbye.counts import Clients
from tests.runtime.haproxy import answered_by
from tests.runtime.server import Server, launch, wait_for

MORE = 20  # answers, at least, between two reloads or stops


@asynccontextmanager
async def sending(clients: Clients) -> AsyncIterator[None]:
    """Have clients send; at the end they finish what is in progress."""
    task = asyncio.create_task(clients.run())
    task.add_done_callback(lambda _: clients.stopping or clients.counts.lost.append("the clients have ended"))
    try:
        yield
    finally:
        clients.stopping = True
        await task


async def more_answers(clients: Clients, more: int = MORE) -> None:
    """Wait until so many more requests have been answered, or one has been lost."""
    more = max(more, clients.traffic.connections * clients.traffic.at_once * 2)
    goal = clients.counts.answered + more
    while clients.counts.answered < goal and not clients.counts.lost:
        await asyncio.sleep(0.01)


async def reload(one: Server, clients: Clients, times: int) -> None:
    """Send SIGHUP so many times."""
    async with sending(clients):
        for done in range(1, times + 1):
            await more_answers(clients)
            one.kill(signal.SIGHUP)
            await asyncio.to_thread(one.wait_log, "Reload complete", done)


async def wear_out(clients: Clients, requests: int) -> None:
    """Have so many requests answered by a server that has MAX_REQUESTS."""
    async with sending(clients):
        await more_answers(clients, requests)


class Stoppable:
    """A server that is stopped and started again at the same port."""

    def __init__(self, python: str, directory: Path, port: int, **settings: object) -> None:
        self._python, self._directory, self._port = python, directory, port
        self._settings = {name: str(value) for name, value in settings.items()} | {"BIND": f"127.0.0.1:{port}"}
        self.starts = 0
        self._stack = ExitStack()

    def __enter__(self) -> Stoppable:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self) -> None:
        """Start it, and wait until it serves. Each start has its own log."""
        self.starts += 1
        started = launch(self._python, self._directory / f"{self._port}-{self.starts}", environ=self._settings)
        self.server = self._stack.enter_context(started).serving()

    def stop(self) -> int:
        """Stop it and return the exit status."""
        status = self.server.stop()
        self._stack.close()
        return status

    def wait_used(self, proxy: str) -> None:
        """Wait until the proxy at that unix socket sends it requests."""
        wait_for(lambda: answered_by(proxy) & {*self.server.children()}, "an answer of the new server")


async def stop(one: Stoppable, proxy: str, clients: Clients, times: int) -> None:
    """Stop one server of the proxy so many times."""
    async with sending(clients):
        for _ in range(times):
            await more_answers(clients)
            assert await asyncio.to_thread(one.stop) == 0
            await asyncio.to_thread(one.start)
            await asyncio.to_thread(one.wait_used, proxy)
