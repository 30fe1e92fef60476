"""Clients under way while workers are replaced again and again."""

from __future__ import annotations

import asyncio
import signal
from typing import Protocol

from tests.runtime.server import Server


class Clients(Protocol):
    """Clients that send requests until they are told to stop, and count."""

    answered: int
    lost: list[str]
    stopping: bool

    async def run(self) -> None:
        """Send requests on one connection after another."""


async def while_reloading(one: Server, clients: Clients, *, at_once: int, reloads: int, more: int) -> None:
    """Run `clients` so many times at once; reload each time when that many `more` requests have been answered."""
    tasks = [asyncio.create_task(clients.run()) for _ in range(at_once)]
    for count in range(1, reloads + 1):
        goal = clients.answered + more
        while clients.answered < goal and not clients.lost:
            await asyncio.sleep(0.01)
        one.kill(signal.SIGHUP)
        await asyncio.to_thread(one.wait_log, "Reload complete", count)
    clients.stopping = True
    await asyncio.gather(*tasks)
