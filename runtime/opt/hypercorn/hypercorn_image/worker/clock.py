# SPDX-License-Identifier: MIT
"""The clock of a stop: the time left for requests in progress, and the forced exit after it."""

import contextlib
import os
import sys
import threading
import time
from typing import Optional

LIFESPAN_GRACE = 0.5  # seconds for the lifespan's shutdown after requests have used up the graceful timeout
_END = 0.3  # seconds after which the process exits, whatever it does


class Clock:
    """Starts at `begin`. Times are in seconds."""

    def __init__(self, graceful_timeout: float) -> None:
        self.graceful_timeout = graceful_timeout
        self._stop_at: Optional[float] = None  # when requests in progress are cut, on the monotonic clock

    def begin(self, seconds: Optional[float] = None) -> None:
        """Have requests in progress cut in `seconds`, by default the graceful timeout. The earliest call counts."""
        stop_at = time.monotonic() + (self.graceful_timeout if seconds is None else seconds)
        if self._stop_at is None or stop_at < self._stop_at:
            self._stop_at = stop_at
            _exit_at(stop_at + LIFESPAN_GRACE + _END)

    def left(self) -> float:
        """Return how many seconds requests in progress still have."""
        return self.graceful_timeout if self._stop_at is None else max(0.0, self._stop_at - time.monotonic())

    def lifespan(self, shutdown_timeout: float) -> float:
        """Return how many seconds the lifespan's shutdown may take."""
        return min(shutdown_timeout, self.left() + LIFESPAN_GRACE)


def _exit_at(moment: float) -> None:
    # Python waits for its threads before it exits, and a WSGI request may block one for ever.
    def end() -> None:
        time.sleep(max(0.0, moment - time.monotonic()))
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(0)

    threading.Thread(target=end, daemon=True, name="hypercorn-image-end").start()
