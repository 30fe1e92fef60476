# SPDX-License-Identifier: MIT
"""The channel between the parent and a worker: JSON lines over two pipes, one each way.

When one side dies, the other one sees the end of the pipe. A worker whose parent has died stops.
"""

import contextlib
import json
import os
import select
from typing import Any, Dict, List

READY, RECYCLE, FAILED, QUIC_CLOSED = "ready", "recycle", "failed", "quic-closed"  # worker to parent
QUIC_NOT_REFUSED = "quic-not-refused"  # worker to parent; "reason": the kernel's
ACCEPTS = "accepts"  # worker to parent, before "ready": it may have connections from now on
EXIT_CALLED = "exit-called"  # worker to parent; "where": the application called sys.exit
ALIVE = "alive"  # worker to parent: the heartbeat
STOP = "stop"  # parent to worker; "seconds": for requests in progress; "last": no other worker accepts
NOT_READY = "not-ready"  # parent to worker: readiness fails from now on
REOPEN_LOGS = "reopen-logs"  # parent to worker


class Sender:
    """The writing end. It is no error when the reader has gone: `Receiver.ended` tells."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def send(self, what: str, **details: Any) -> None:
        """Send one message. A long one, with a traceback, waits for the reader."""
        data = json.dumps({"what": what, **details}).encode() + b"\n"
        with contextlib.suppress(BrokenPipeError, BlockingIOError):
            while data:
                data = data[os.write(self.descriptor, data) :]

    def send_if_room(self, what: str) -> None:
        """Send one message, unless the pipe is full."""
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
        """Return the messages that have arrived; `ended` is true once the other side has gone."""
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
