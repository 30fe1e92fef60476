"""HTTP/3's good-bye, seen by one client: what it is told (RFC 9114, 5.2)."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.certificates import Authority
from tests.runtime.h3 import Rejected, connected
from tests.runtime.launching import Launch, every_class
from tests.runtime.server import Server


def settings(tmp_path: Path, worker_class: str) -> dict[str, Any]:
    tls = Authority(tmp_path / "certificates").tls()
    return {**tls, "QUIC_BIND": "127.0.0.1:0", "WORKER_CLASS": worker_class, "ACCESS_LOG": ""}


def quic_address(one: Server) -> tuple[str, int]:
    return "127.0.0.1", int([url for url in one.urls() if url.startswith("https")][-1].rpartition(":")[2])


@every_class
def test_a_client_that_is_held_up_is_served_until_it_has_heard_of_the_end(
    server: Launch, worker_class: str, tmp_path: Path
) -> None:
    async def ask(one: Server) -> list[int]:
        async with connected(quic_address(one)) as session:
            await session.get()
            one.kill(signal.SIGHUP)
            one.wait_log("Reload complete")
            time.sleep(1)  # it hears nothing meanwhile
            return [status for status, _ in await asyncio.gather(*[session.get() for _ in range(5)])]

    with server(**settings(tmp_path, worker_class), WEB_CONCURRENCY=1) as one:
        one.serving()
        assert asyncio.run(ask(one)) == [200] * 5


@every_class
def test_a_request_that_was_lost_on_its_way_is_served_when_it_comes(
    server: Launch, worker_class: str, tmp_path: Path
) -> None:
    async def ask(one: Server) -> int:
        async with connected(quic_address(one)) as session:
            await session.get()
            session._quic._local_next_stream_id_bidi = 8  # as if the packets of 4 were lost
            await session.get()
            one.kill(signal.SIGTERM)
            while len(session.first_unserved) < 2:
                await asyncio.sleep(0.01)
            await asyncio.wait([session.terminated], timeout=1)
            session._quic._local_next_stream_id_bidi = 4
            return (await session.get())[0]

    with server(**settings(tmp_path, worker_class), WEB_CONCURRENCY=1) as one:
        one.serving()
        assert asyncio.run(ask(one)) == 200
        assert one.wait() == 0


@every_class
def test_a_stop_is_announced_and_a_request_that_comes_too_late_is_rejected(
    server: Launch, worker_class: str, tmp_path: Path
) -> None:
    async def stop(one: Server) -> tuple[list[int], int]:
        async with connected(quic_address(one)) as session:
            answer = asyncio.create_task(session.get("/slow?seconds=3&size=100000"))
            await asyncio.to_thread(one.wait_events, "slow", 1)
            one.kill(signal.SIGTERM)
            while len(session.first_unserved) < 2:
                await asyncio.sleep(0.01)
            with pytest.raises(Rejected):
                await session.get()
            return session.first_unserved, len((await answer)[1])

    with server(**settings(tmp_path, worker_class), WEB_CONCURRENCY=1) as one:
        one.serving()
        assert asyncio.run(stop(one)) == ([2**62 - 4, 4], 100000)
        assert one.wait() == 0
