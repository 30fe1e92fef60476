# SPDX-License-Identifier: MIT
"""HTTP/2: what all requests of a connection have to send goes out in one write.

Hypercorn writes three times for an answer: its headers, its body, and an empty frame that ends it (protocol/h2.py of
0.17.3 and 0.18.0). Here the last bytes end the stream, and a write follows when no stream has more to send, or when
there is enough for one. A stream that waits has had its headers sent by then. docs/speed.md has figures.

It can go when Hypercorn does the same.
"""

from typing import Any

from h2.exceptions import ProtocolError
from hypercorn.protocol.events import InformationalResponse, Response, StreamClosed
from hypercorn.protocol.h2 import H2Protocol
from priority.priority import DeadlockError

ENOUGH = 2**16  # bytes for one write; more would only wait in memory for the client to read


class Gathering(H2Protocol):
    """An HTTP/2 connection that gathers what its streams send."""

    gathered = 0  # bytes of bodies since the last write

    async def send_task(self) -> None:
        """Send for the streams in the order of their priorities, as long as the connection is open."""
        while not self.closed:
            try:
                stream_id = next(self.priority)
            except DeadlockError:  # none has more to send, or none may
                await self._write_gathered()
                await self.has_data.wait()
                await self.has_data.clear()
            else:
                await self._send_data(stream_id)

    async def _write_gathered(self) -> None:
        self.gathered = 0
        await self._flush()

    async def _send_data(self, stream_id: int) -> None:
        """Send what fits into one frame, and the end of the stream with its last bytes."""
        try:
            window = self.connection.local_flow_control_window(stream_id)
            buffer = self.stream_buffers[stream_id]
            data = await buffer.pop(max(0, min(window, self.connection.max_outbound_frame_size)))
            if data or buffer.complete:
                self.connection.send_data(stream_id, data, end_stream=buffer.complete)
            else:
                self.priority.block(stream_id)
            if buffer.complete:
                self._forget(stream_id)
        except (KeyError, ProtocolError):  # the client has reset it, or has gone
            await self.stream_buffers[stream_id].close()
            self._forget(stream_id)
        else:
            self.gathered += len(data)
            if self.gathered >= ENOUGH:
                await self._write_gathered()

    def _forget(self, stream_id: int) -> None:
        del self.stream_buffers[stream_id]
        self.priority.remove_stream(stream_id)

    async def stream_send(self, event: Any) -> None:
        """Take what a stream says. Headers wait for the first bytes of the body, if these follow at once."""
        if isinstance(event, StreamClosed):
            await self._flush()  # Hypercorn may close the connection then
        if not isinstance(event, (InformationalResponse, Response)):
            await super().stream_send(event)
            return
        headers = [(b":status", b"%d" % event.status_code), *event.headers, *self.config.response_headers("h2")]
        try:
            self.connection.send_headers(event.stream_id, headers)
        except ProtocolError:  # the client has reset it, or has gone
            return
        await self.has_data.set()
