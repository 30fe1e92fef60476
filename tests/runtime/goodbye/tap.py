"""A relay that reads along: it counts by the RFC what becomes of each request of an HTTP/2 client (RFC 9113, 6.8).

For programs that do not say themselves why a request failed. It is slow to read what the server sends, as a client far
away is: what a server that closes too early has sent is lost to it.
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, RstStreamFrame

from tests.runtime.certificates import Authority
from tests.runtime.goodbye.counts import Counts
from tests.runtime.server import unverified_tls

PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
SLOW = 0.01  # seconds for which what the server sends is not read
CLOSING = 1.0  # seconds that each end has to close when the other has
READ = GoAwayFrame, HeadersFrame, RstStreamFrame


class Frames:
    """Hands on the frames of a direction of a connection, as they are complete."""

    def __init__(self, see: Callable[[Frame], None], skip: int = 0) -> None:
        self._see, self._skip, self._buffer = see, skip, bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data
        del self._buffer[: (skipped := min(self._skip, len(self._buffer)))]
        self._skip -= skipped
        while len(self._buffer) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(bytes(self._buffer[:9])))
            if len(self._buffer) < 9 + length:
                return
            if isinstance(frame, READ):
                frame.parse_body(memoryview(bytes(self._buffer[9 : 9 + length])))
            del self._buffer[: 9 + length]
            self._see(frame)


class Connection:
    """What became of the requests of one connection."""

    def __init__(self, counts: Counts) -> None:
        self._counts, self._open, self._highest, self._last = counts, set[int](), 0, 2**31 - 1
        counts.connections += 1

    def sent(self, frame: Frame) -> None:
        """Note what the client has sent."""
        if isinstance(frame, HeadersFrame) and frame.stream_id > self._highest:
            self._highest = frame.stream_id
            self._open.add(frame.stream_id)
            self._counts.sent += 1

    def received(self, frame: Frame) -> None:
        """Note what the server has sent."""
        if isinstance(frame, GoAwayFrame):
            self._last = frame.last_stream_id
        elif frame.stream_id not in self._open:
            return
        elif isinstance(frame, RstStreamFrame):
            self._open.remove(frame.stream_id)
            if frame.error_code == ErrorCodes.REFUSED_STREAM:
                self._counts.again += 1
            else:
                self._counts.lost.append(f"stream {frame.stream_id} was reset: {frame.error_code}")
        elif isinstance(frame, DataFrame | HeadersFrame) and "END_STREAM" in frame.flags:
            self._open.remove(frame.stream_id)
            self._counts.answered += 1

    def end(self) -> None:
        """Judge what was not answered."""
        for stream in sorted(self._open):
            if stream > self._last:
                self._counts.again += 1
            else:
                self._counts.lost.append(f"stream {stream} had no answer; the last one is {self._last}")


@asynccontextmanager
async def tap(address: tuple[str, int], counts: Counts, tls: bool = False) -> AsyncIterator[tuple[str, int]]:
    """Relay to `address` and count; yield where clients connect to. All connections have ended after the block."""
    tasks: set[asyncio.Task[None]] = set()
    above_tls, below_tls = contexts() if tls else (None, None)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(OSError):  # nobody listens
            server = await asyncio.open_connection(*address, ssl=above_tls)
            connection = Connection(counts)
            sending = asyncio.create_task(_copy(reader, server[1], Frames(connection.sent, PREFACE)))
            receiving = asyncio.create_task(_copy(server[0], writer, Frames(connection.received), SLOW))
            await asyncio.wait([sending, receiving], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait([sending, receiving], timeout=CLOSING)
            server[1].close()
            writer.close()
            await asyncio.gather(sending, receiving)
            connection.end()

    async with await asyncio.start_server(relay, "127.0.0.1", 0, ssl=below_tls) as listening:
        yield listening.sockets[0].getsockname()
        await asyncio.gather(*tasks)


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the TLS of a client that trusts everybody, and that of a server."""
    client, server = unverified_tls(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with tempfile.TemporaryDirectory() as directory:
        server.load_cert_chain(*Authority(Path(directory)).issue())
    for context in (client, server):
        context.set_alpn_protocols(["h2"])
    return client, server


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, frames: Frames, slow: float = 0.0) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            frames.feed(data)
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(slow)
