"""HTTP/2's good-bye, seen by httpx with 50 requests at once on a connection: no answer is missing.

httpx sends what was never begun again by itself, and leaves that to its caller where an upload was not over yet. Its h2
takes nothing after a GOAWAY, so all that it has just sent is told to come again, not one request.
"""

from __future__ import annotations

import asyncio
import os
import re
from typing import Any

import httpx
import pytest

from tests.runtime.goodbye.reloading import while_reloading
from tests.runtime.launching import Launch, every_class
from tests.runtime.server import LIMIT, Server

RELOADS = int(os.environ.get("RELOADS", "50" if os.environ.get("FULL") else "1"))
CONNECTIONS = 2
AT_ONCE = 50


class Burst:
    """HTTP/2 clients of httpx that always have 50 requests in progress, each client on one connection."""

    def __init__(self, one: Server, body: bytes) -> None:
        self.answered, self.again, self.lost = 0, 0, [""][:0]
        self._url, self._body, self.stopping = "http://{}:{}/".format(*one.address), body, False

    async def run(self) -> None:
        async with httpx.AsyncClient(http1=False, http2=True, verify=False, timeout=LIMIT) as client:
            await asyncio.gather(*[self._ask(client) for _ in range(AT_ONCE)])

    async def _ask(self, client: httpx.AsyncClient) -> None:
        while not self.stopping:
            sent: list[int] = []

            async def trace(name: str, info: dict[str, Any], sent: list[int] = sent) -> None:
                if name == "http2.send_request_headers.started":
                    sent.append(info["stream_id"])

            method = "POST" if self._body else "GET"
            try:
                answer = await client.request(
                    method, self._url, content=self._body or None, extensions={"trace": trace}
                )
            except httpx.HTTPError as error:
                named = re.search(r"last_stream_id:(\d+)", str(error))
                if named and sent and sent[-1] > int(named[1]):
                    self.again += 1
                else:
                    self.lost.append(f"{sent}: {error!r}")
            else:
                self.answered += answer.status_code == 200
                self.again += len(sent) - 1


@every_class
@pytest.mark.parametrize("body", [b"", b"x" * 100_000], ids=["gets", "uploads"])
def test_reloads_lose_no_request_of_clients_that_send_many_at_once(
    server: Launch, worker_class: str, body: bytes
) -> None:
    with server(WORKER_CLASS=worker_class, ACCESS_LOG="") as one:
        one.serving()
        burst = Burst(one, body)
        more = CONNECTIONS * AT_ONCE * 2
        asyncio.run(while_reloading(one, burst, at_once=CONNECTIONS, reloads=RELOADS, more=more))
        print(f"{worker_class}: {burst.answered} answered, {burst.again} sent again, {len(burst.lost)} lost")
        assert burst.lost == []
        assert burst.again <= CONNECTIONS * AT_ONCE * RELOADS
        assert one.stop() == 0
