"""The parent's signals: each is only noted, and wakes the loop that acts on it.

As in uvicorn's supervisors/multiprocess.py. Waiting for signals, for messages of workers and for time is one `wait`.
"""

import contextlib
import os
import select
import signal
from typing import Iterable, List, Optional

STOPS = (signal.SIGTERM, signal.SIGINT)
FROM_OPERATORS = (
    *STOPS, signal.SIGQUIT, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip
# By default each ends a process that is not PID 1: a container must not die of somebody's guess.
UNUSED = (
    signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO, signal.SIGPWR,
    *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
)  # fmt: skip


def name(number: int) -> str:
    """Return the name of a signal; most real-time ones have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Signals:
    """Notes the signals of this process from `install` on."""

    def __init__(self) -> None:
        self._noted: List[int] = []
        self.descriptors = (-1, -1)

    def install(self) -> None:
        """Begin to note. The handlers that were there are gone, but for those of the application for UNUSED ones."""
        self.descriptors = os.pipe()
        for descriptor in self.descriptors:
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self.descriptors[1], warn_on_full_buffer=False)
        free = [number for number in UNUSED if signal.getsignal(number) is signal.SIG_DFL]
        for number in (*FROM_OPERATORS, signal.SIGCHLD, *free):
            signal.signal(number, lambda number, _: self._noted.append(number))

    def take(self) -> List[int]:
        """Return the signals that came since the last call, in order."""
        taken: List[int] = []
        while self._noted:
            taken.append(self._noted.pop(0))
        return taken

    def wait(self, descriptors: Iterable[int], seconds: Optional[float]) -> None:
        """Return at a signal, when something can be read from one of `descriptors`, or after `seconds`."""
        poll = select.poll()
        for descriptor in (self.descriptors[0], *descriptors):
            poll.register(descriptor, select.POLLIN)
        poll.poll(None if seconds is None else int(seconds * 1000) + 1)
        with contextlib.suppress(BlockingIOError):
            os.read(self.descriptors[0], 4096)

    def forget(self) -> None:
        """In a process just forked: close what is the parent's."""
        for descriptor in self.descriptors:
            os.close(descriptor)
