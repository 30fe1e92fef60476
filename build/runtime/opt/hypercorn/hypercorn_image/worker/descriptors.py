"""Says that a worker is out of file descriptors: one line now and then, in place of a traceback for each failed accept.

New connections wait in the kernel's queue until one is free (on uvloop they are reset). Who is connected is served.
"""

import errno
import logging
import resource
import time
from typing import Any

INTERVAL = 10.0  # seconds between two lines
_ERRNOS = (errno.EMFILE, errno.ENFILE)


class Shortage:
    """What is said with the loggers of `config`, at most once in `INTERVAL`."""

    def __init__(self, config: Any) -> None:
        self._config = config
        self._next = 0.0

    def note(self) -> None:
        """A connection could not be accepted."""
        now, logger = time.monotonic(), self._config.log.error_logger
        if now >= self._next and logger is not None:
            self._next = now + INTERVAL
            limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            logger.error("Too many open files (limit %d); new connections have to wait", limit)

    def is_meant(self, error: Any) -> bool:
        """Tell whether `error` is what an accept raises that has found no descriptor."""
        return isinstance(error, OSError) and error.errno in _ERRNOS

    def filter_trio(self) -> None:
        """Say it in place of trio, which logs a traceback for each failed accept (trio/_highlevel_serve_listeners)."""
        logging.getLogger("trio.serve_listeners").addFilter(self._replace)

    def _replace(self, record: logging.LogRecord) -> bool:
        if not record.exc_info or not self.is_meant(record.exc_info[1]):
            return True
        self.note()
        return False

    def took_last(self, transport: Any) -> None:
        """Note a connection that has taken the last descriptor: uvloop says nothing of those that find none."""
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.fileno() + 1 >= resource.getrlimit(resource.RLIMIT_NOFILE)[0]:
            self.note()
