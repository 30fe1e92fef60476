"""A relay that reads along: it counts by the RFC what becomes of each request of an HTTP/2 client (RFC 9113, 6.8).

For programs that do not say themselves why a request failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, RstStreamFrame

from tests.runtime.goodbye.counts import Counts

PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
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
async def tap(address: tuple[str, int], counts: Counts) -> AsyncIterator[tuple[str, int]]:
    """Relay to `address` and count; yield where clients connect to. All connections have ended after the block."""
    tasks: set[asyncio.Task[None]] = set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        connection = Connection(counts)
        try:
            above, below = await asyncio.open_connection(*address)
            await asyncio.gather(
                _copy(reader, below, Frames(connection.sent, PREFACE)), _copy(above, writer, Frames(connection.received))
            )
        finally:
            connection.end()
            writer.close()

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()
        await asyncio.gather(*tasks)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, frames: Frames) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            frames.feed(data)
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        writer.write_eof()
