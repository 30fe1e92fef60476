"""Makes HTTP/3 requests with aioquic, several at once on a connection: HOST PORT SECONDS PATH CONNECTIONS STREAMS."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter

from tests.bench.clients import report
from tests.runtime.h3 import Client, connected


async def ask(client: Client, path: str, until: float, counts: Counter[str]) -> None:
    while time.monotonic() < until:
        try:
            status, _ = await client.get(path)
        except (ConnectionError, asyncio.TimeoutError):
            status = 0
        counts["requests" if status == 200 else "failed"] += 1
        if not status:
            return


async def connection(address: tuple[str, int], path: str, streams: int, seconds: float, counts: Counter[str]) -> None:
    async with connected(address) as client:
        until = time.monotonic() + seconds
        await asyncio.gather(*[ask(client, path, until, counts) for _ in range(streams)])


async def load(address: tuple[str, int], seconds: float, path: str, connections: int, streams: int) -> None:
    counts, began = Counter[str](), time.monotonic()
    await asyncio.gather(*[connection(address, path, streams, seconds, counts) for _ in range(connections)])
    report(counts, began)


def main(host: str, port: str, seconds: str, path: str, connections: str, streams: str) -> None:
    asyncio.run(load((host, int(port)), float(seconds), path, int(connections), int(streams)))


if __name__ == "__main__":
    main(*sys.argv[1:])
