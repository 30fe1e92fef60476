"""HTTP/3 on a network that loses packets."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.runtime.goodbye.test_h3 import quic_address, settings
from tests.runtime.h3 import Client, connected
from tests.runtime.launching import Launch, every_class
from tests.runtime.server import Server

LOST = 8  # packets: an answer is three, and one or two each time that it is sent again


def lose(session: Client, count: int) -> None:
    """Have the client lose the next `count` packets that come for it."""
    receive, lost = session.datagram_received, []

    def lose_or_receive(data: Any, address: Any) -> None:
        if len(lost) < count:
            lost.append(data)
        else:
            receive(data, address)

    session.datagram_received = lose_or_receive  # type: ignore[method-assign]


@every_class
def test_an_answer_that_is_lost_again_and_again_arrives_in_the_end(
    server: Launch, worker_class: str, tmp_path: Path
) -> None:
    async def ask(one: Server) -> int:
        async with connected(quic_address(one)) as session:
            await session.get()
            answer = asyncio.ensure_future(session.get("/held"))
            await asyncio.to_thread(one.wait_events, "slow", 1)
            await session.ping()  # the server has confirmed the request: from now on the client only waits
            lose(session, LOST)
            one.release()
            return (await answer)[0]

    with server(**settings(tmp_path, worker_class), WEB_CONCURRENCY=1) as one:
        one.serving()
        assert asyncio.run(ask(one)) == 200
