"""Clients that are Python libraries: httpx with HTTP/2 and HTTP/1.1, aioquic's HTTP/3."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from contextlib import suppress
from typing import Any

import httpx

from tests.runtime import h3
from tests.runtime.goodbye.counts import Clients, Traffic
from tests.runtime.process.clients import IDLE

LIMIT = 60  # seconds for an answer


class Httpx(Clients):
    """HTTP/2 of httpx, which sends what was never begun again by itself, but for an upload that is not over.

    Its h2 reads nothing after a GOAWAY. So of requests made at once, all that are sent while the earlier ones are being
    answered are to be sent again, not one (docs/stopping.md).
    """

    http2 = True

    def __init__(self, traffic: Traffic, urls: list[str]) -> None:
        super().__init__(traffic, urls)
        self._tls = ssl.create_default_context()

    @property
    def again_for_each_connection(self) -> int:
        return self.traffic.at_once

    async def run(self) -> None:
        await asyncio.gather(*[self._connection() for _ in range(self.traffic.connections)])

    def transport(self, **settings: Any) -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(http1=not self.http2, http2=self.http2, verify=self._tls, **settings)

    async def _connection(self) -> None:
        async with httpx.AsyncClient(transport=self.transport(), base_url=self.cleartext, timeout=LIMIT) as client:
            await asyncio.gather(*[self._ask(client) for _ in range(self.traffic.at_once)])

    async def _ask(self, client: httpx.AsyncClient) -> None:
        began = time.monotonic()
        while not self.stopping:
            sent: list[int] = []
            before, began = began, time.monotonic()
            try:
                answer = await client.request(
                    "POST" if self.traffic.body else "GET",
                    self.traffic.path,
                    content=self.traffic.body or None,
                    extensions={"trace": self._trace(sent)},
                )
            except httpx.HTTPError as error:
                self._count_failure(sent, error, idle=began - before)
            else:
                self.count(answer.status_code, len(answer.content))
            self.counts.again += max(0, len(sent) - 1)

    def _trace(self, sent: list[int]) -> Any:
        async def trace(name: str, info: dict[str, Any]) -> None:
            if name.endswith("send_request_headers.started"):
                self.counts.sent += 1
                sent.append(info.get("stream_id", 0))
            self.counts.connections += name.startswith("connection.connect_") and name.endswith(".complete")

        return trace

    def _count_failure(self, sent: list[int], error: Exception, idle: float) -> None:
        if self.may_send_again(sent, error, idle):
            self.counts.again += 1
        else:
            self.counts.lost.append(f"{sent} after {idle:.3f} s: {error!r}")

    def may_send_again(self, sent: list[int], error: Exception, idle: float) -> bool:
        """Tell whether the server has not begun the last request. The one before was `idle` seconds earlier."""
        named = re.search(r"last_stream_id:(\d+)", str(error))
        return bool(named and sent and sent[-1] > int(named[1]))


class Http1(Httpx):
    """HTTP/1.1 of httpx, with connections that are kept alive."""

    http2 = False

    @property
    def again_for_each_connection(self) -> int:
        return 1

    def may_send_again(self, sent: list[int], error: Exception, idle: float) -> bool:
        """A server that stops closes what is idle, as a connection is whose client was held up (RFC 9112, 9.5)."""
        return isinstance(error, httpx.RemoteProtocolError) and idle > IDLE


class Proxied(Http1):
    """HTTP/1.1 of httpx to a proxy's unix socket; the proxy makes of it what it likes. It does not stop."""

    @property
    def again_for_each_connection(self) -> int:
        return 0

    def transport(self, **settings: Any) -> httpx.AsyncHTTPTransport:
        return super().transport(uds=self.urls[0], **settings)

    @property
    def cleartext(self) -> str:
        return "http://proxy"


class Http3(Clients):
    """HTTP/3 of aioquic."""

    @property
    def again_for_each_connection(self) -> int:
        """All that are on their way: packets that were lost may come again after the last request has been said."""
        return self.traffic.at_once

    async def run(self) -> None:
        await asyncio.gather(*[self._connections() for _ in range(self.traffic.connections)])

    async def _connections(self) -> None:
        port = int(self.urls[-1].rpartition(":")[2])
        while not self.stopping:
            with suppress(ConnectionError):  # a worker that leaves closes a handshake that takes too long
                async with h3.connected(("127.0.0.1", port)) as session:
                    self.counts.connections += 1
                    await asyncio.gather(*[self._ask(session) for _ in range(self.traffic.at_once)])

    async def _ask(self, session: h3.Client) -> None:
        while not (self.stopping or session.first_unserved or session.terminated.done()):
            self.counts.sent += 1
            try:
                status, body = await session.get(self.traffic.path, body=self.traffic.body)
            except h3.Rejected:
                self.counts.again += 1
            except (ConnectionError, TimeoutError) as error:
                self.counts.lost.append(repr(error))
            else:
                self.count(status, len(body))
