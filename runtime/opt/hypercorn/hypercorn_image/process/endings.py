# SPDX-License-Identifier: MIT
"""Says how a worker has ended, and what to do: tells an OOM kill, a crash, `sys.exit` and others apart."""

import contextlib
import os
import signal
from typing import Iterator, Optional, Tuple

from hypercorn_image.config.cgroup import ancestors, group, read
from hypercorn_image.process.signals import name

# A compiled module ends its process by one of these.
_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT)
_FILES = (("sys/fs/cgroup", "", "memory.events"), ("sys/fs/cgroup/memory", "memory", "memory.oom_control"))
_OUT_OF_MEMORY = "out of memory: use fewer workers, or raise the container's memory limit"
_SENT = "somebody has sent it: the kernel has counted no OOM kill in this container"
_CRASH = "a crash in a compiled module: PYTHONFAULTHANDLER=1 logs where"
_EXIT = "the application has called os._exit, or an error above ended the worker"


def ended_children() -> Iterator[Tuple[int, int]]:
    """Yield the process id and the status of each child that has ended; it is gone then."""
    with contextlib.suppress(ChildProcessError):  # there is none
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            yield pid, status


def how_ended(status: int) -> str:
    """Return in words how a process ended, from the status that `waitpid` gives."""
    if os.WIFSIGNALED(status):
        return name(os.WTERMSIG(status))
    return f"status {os.WEXITSTATUS(status)}"


def oom_kills(root: str = "/") -> Optional[int]:
    """Return how many processes of this cgroup the OOM killer has ended; None where the kernel does not say.

    `root` is where `proc/` and `sys/` are: another directory in tests.
    """
    for mount, controller, file in _FILES:
        for directory in ancestors(os.path.join(root, mount), group(root, controller)):
            for line in read(directory, file).splitlines():
                key, _, value = line.partition(" ")
                if key == "oom_kill" and value.isdigit():
                    return int(value)
    return None


class Endings:
    """The endings of the workers of one parent."""

    def __init__(self) -> None:
        self._before = oom_kills()
        self._asked = False

    def describe(self, status: int, exit_call: str) -> str:
        """Return how a worker ended, and why as far as that is known. `exit_call` is where it called `sys.exit`."""
        return f"{how_ended(status)} ({self._why(status, exit_call)})"

    def settle(self) -> None:
        """Note that all workers that have ended are described: an OOM kill from now on is another one's."""
        if self._asked:
            self._before, self._asked = oom_kills(), False

    def _why(self, status: int, exit_call: str) -> str:
        if exit_call:
            return exit_call
        if not os.WIFSIGNALED(status):
            return _EXIT
        number = os.WTERMSIG(status)
        if number in _CRASHES:
            return _CRASH
        if number != signal.SIGKILL:
            return "somebody has sent it"
        after, self._asked = oom_kills(), True
        if self._before is None or after is None:
            return "out of memory?"
        return _OUT_OF_MEMORY if after > self._before else _SENT
