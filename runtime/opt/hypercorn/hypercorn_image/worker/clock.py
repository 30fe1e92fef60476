"""The clock of a stop: how long requests in progress still have, and the end when even that was not enough."""

import contextlib
import os
import sys
import threading
import time
from typing import Optional

LIFESPAN_GRACE = 0.5  # what the lifespan's shutdown gets when requests have used up the graceful timeout
_END = 0.3  # after that, the worker ends whatever it does


class Clock:
    """Stands until `begin`. Times are in seconds."""

    def __init__(self, graceful_timeout: float) -> None:
        self.graceful_timeout = graceful_timeout
        self._stop_at: Optional[float] = None  # when requests in progress are cut, on the monotonic clock

    def begin(self, seconds: Optional[float] = None) -> None:
        """Cut requests in progress `seconds` from now, after the graceful timeout by default. The earliest counts."""
        stop_at = time.monotonic() + (self.graceful_timeout if seconds is None else seconds)
        if self._stop_at is None or stop_at < self._stop_at:
            self._stop_at = stop_at
            _end_of_last_resort(stop_at + LIFESPAN_GRACE + _END)

    def left(self) -> float:
        """Return how many seconds requests in progress still have."""
        return self.graceful_timeout if self._stop_at is None else max(0.0, self._stop_at - time.monotonic())

    def lifespan(self, shutdown_timeout: float) -> float:
        """Return how many seconds the lifespan's shutdown may take."""
        return min(shutdown_timeout, self.left() + LIFESPAN_GRACE)


def _end_of_last_resort(moment: float) -> None:
    # Python waits at its end for threads, and a WSGI request may sit in one for ever.
    def end() -> None:
        time.sleep(max(0.0, moment - time.monotonic()))
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(0)

    threading.Thread(target=end, daemon=True, name="hypercorn-image-end").start()
