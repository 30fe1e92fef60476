"""HTTP/3's good-bye (RFC 9114, 5.2), seen by aioquic's client: no request is lost that it may not send again."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.certificates import Authority
from tests.runtime.goodbye.reloading import while_reloading
from tests.runtime.h3 import Rejected, connected
from tests.runtime.launching import Launch, every_class
from tests.runtime.server import Server

FULL = bool(os.environ.get("FULL"))
RELOADS = 50 if FULL else 2
CLIENTS = 4


def settings(tmp_path: Path, worker_class: str) -> dict[str, Any]:
    certificate, key = Authority(tmp_path / "certificates").issue()
    return {
        "USE_SSL": "true",
        "SSL_PORT": 0,
        "CERTFILE": certificate,
        "KEYFILE": key,
        "QUIC_BIND": "127.0.0.1:0",
        "WORKER_CLASS": worker_class,
        "ACCESS_LOG": "",
    }


def quic_address(one: Server) -> tuple[str, int]:
    return "127.0.0.1", int([url for url in one.urls() if url.startswith("https")][-1].rpartition(":")[2])


class Clients:
    """Connections that send one request after another, and are opened again when they end."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.answered, self.again, self.lost = 0, 0, [""][:0]
        self.stopping = False

    async def run(self) -> None:
        while not self.stopping:
            async with connected(self.address) as session:
                await self._ask(session)

    async def _ask(self, session: Any) -> None:
        while not self.stopping and not session.first_unserved:
            try:
                self.answered += (await session.get())[0] == 200
            except Rejected:
                self.again += 1
                return
            except (ConnectionError, TimeoutError) as error:
                self.lost.append(repr(error))
                return
            await asyncio.sleep(0.02)  # the processor is for the server


@every_class
def test_reloads_lose_no_request(server: Launch, worker_class: str, tmp_path: Path, unprivileged: None) -> None:
    async def load(one: Server) -> Clients:
        clients = Clients(quic_address(one))
        await while_reloading(one, clients, at_once=CLIENTS, reloads=RELOADS, more=20)
        return clients

    with server(**settings(tmp_path, worker_class)) as one:
        one.serving()
        clients = asyncio.run(load(one))
        print(
            f"{worker_class}: {clients.answered} answered, {clients.again} to be sent again, {len(clients.lost)} lost"
        )
        assert clients.lost == []
        assert clients.again <= CLIENTS * RELOADS
        assert one.stop() == 0


@every_class
def test_a_stop_is_announced_and_a_request_that_comes_too_late_is_rejected(
    server: Launch, worker_class: str, tmp_path: Path
) -> None:
    async def stop(one: Server) -> tuple[list[int], int]:
        async with connected(quic_address(one)) as session:
            answer = asyncio.create_task(session.get("/held?size=100000"))
            await asyncio.to_thread(one.wait_events, "slow", 1)
            one.kill(signal.SIGTERM)
            while len(session.first_unserved) < 2:
                await asyncio.sleep(0.01)
            with pytest.raises(Rejected):
                await session.get()
            one.release()
            return session.first_unserved, len((await answer)[1])

    with server(**settings(tmp_path, worker_class), WEB_CONCURRENCY=1) as one:
        one.serving()
        assert asyncio.run(stop(one)) == ([2**62 - 4, 4], 100000)
        assert one.wait() == 0
