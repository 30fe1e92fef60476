# SPDX-License-Identifier: MIT
"""The parent's signals: a handler notes the signal and wakes the main loop, which acts on it.

uvicorn's supervisors/multiprocess.py does the same. One `wait` is for signals, messages of workers and time.
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
# Without a handler, each of them ends a process that is not PID 1.
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
        """Note signals from now on. Handlers of the application for UNUSED signals stay."""
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
        """Close the parent's descriptors, in a process just forked."""
        for descriptor in self.descriptors:
            os.close(descriptor)
