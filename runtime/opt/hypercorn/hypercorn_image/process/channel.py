"""What parent and worker say to each other: JSON lines over two pipes, one each way.

The parent hears of a worker's death as the end of its pipe; a worker hears of the parent's in the same way, and stops.
"""

import contextlib
import json
import os
import select
from typing import Any, Dict, List

READY, RECYCLE, FAILED, QUIC_CLOSED = "ready", "recycle", "failed", "quic-closed"  # worker to parent
QUIC_NOT_REFUSED = "quic-not-refused"  # worker to parent; "reason": what the kernel says
ALIVE = "alive"  # worker to parent, each `heartbeat.INTERVAL`: its event loop turns
STOP = "stop"  # parent to worker; "seconds": for requests in progress; "last": nobody goes on accepting
NOT_READY = "not-ready"  # parent to worker: the stop is near, and readiness is to fail
REOPEN_LOGS = "reopen-logs"  # parent to worker


class Sender:
    """The writing end. A reader that is gone is not an error: its end is noticed elsewhere."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def send(self, what: str, **details: Any) -> None:
        """Send one message. It is far below PIPE_BUF or, for a traceback, read as it is written."""
        data = json.dumps({"what": what, **details}).encode() + b"\n"
        with contextlib.suppress(BrokenPipeError, BlockingIOError):
            while data:
                data = data[os.write(self.descriptor, data) :]

    def send_if_room(self, what: str) -> None:
        """Send one message; a reader that has not read for so long that the pipe is full does not get it."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLOUT)
        if poll.poll(0):
            self.send(what)

    def close(self) -> None:
        """Close the pipe."""
        with contextlib.suppress(OSError):
            os.close(self.descriptor)


class Receiver:
    """The reading end; never blocks."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.ended = False
        self._buffer = b""
        os.set_blocking(descriptor, False)

    def receive(self) -> List[Dict[str, Any]]:
        """Return the messages that have arrived; `ended` is true once the other side is gone."""
        while not self.ended:
            try:
                data = os.read(self.descriptor, 65536)
            except BlockingIOError:
                break
            self._buffer += data
            self.ended = not data
        *lines, self._buffer = self._buffer.split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Close the pipe."""
        with contextlib.suppress(OSError):
            os.close(self.descriptor)
