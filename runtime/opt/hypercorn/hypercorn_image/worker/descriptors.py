# SPDX-License-Identifier: MIT
"""Logs that a worker is out of file descriptors, in one line instead of a traceback for each failed accept.

New connections wait in the kernel's queue until a descriptor is free; on uvloop they are reset. Open connections are
served.
"""

import errno
import logging
import resource
from typing import Any, Callable

from hypercorn_image.logs import Seldom

_ERRNOS = (errno.EMFILE, errno.ENFILE)


class Shortage:
    """Logs seldom. `log` takes a level, a message and its values."""

    def __init__(self, log: Callable[..., None]) -> None:
        self.log = log
        self._seldom = Seldom()

    def note(self) -> None:
        """A connection could not be accepted."""
        if self._seldom.may():
            limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            self.log("error", "Too many open files (limit %d); new connections have to wait", limit)

    def causes(self, error: Any) -> bool:
        """Tell whether `error` was raised by an accept that found no free descriptor."""
        return isinstance(error, OSError) and error.errno in _ERRNOS

    def filter_trio(self) -> None:
        """Replace the traceback that trio logs for each failed accept (trio/_highlevel_serve_listeners.py)."""
        logging.getLogger("trio.serve_listeners").addFilter(self._replace)

    def _replace(self, record: logging.LogRecord) -> bool:
        if not record.exc_info or not self.causes(record.exc_info[1]):
            return True
        self.note()
        return False

    def took_last(self, transport: Any) -> None:
        """Note a connection that has taken the last descriptor. uvloop does not report those that find none."""
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.fileno() + 1 >= resource.getrlimit(resource.RLIMIT_NOFILE)[0]:
            self.note()
