"""What makes workers leave while clients send: reloads, MAX_REQUESTS, stops of one server of two behind a proxy."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.runtime.goodbye.counts import Clients
from tests.runtime.server import Server

MORE = 20  # answers, at least, between two reloads or stops


@asynccontextmanager
async def sending(clients: Clients) -> AsyncIterator[None]:
    """Have clients send; at the end they finish what is in progress."""
    task = asyncio.create_task(clients.run())
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
