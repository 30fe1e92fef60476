# SPDX-License-Identifier: MIT
"""A worker process as its parent sees it: forks it, sends it messages, kills it."""

import contextlib
import os
import signal
import sys
import traceback
from typing import Any, Callable, List, Optional

from hypercorn_image.errors import StartError
from hypercorn_image.process import channel
from hypercorn_image.process.signals import FROM_OPERATORS

# A worker ignores these. They may reach it through its process group, and would end it if it had no handler.
_PARENTS = [number for number in FROM_OPERATORS if number != signal.SIGTERM]


class Child:
    """One worker process. `slot` is its place among the workers, `quic` has its own UDP sockets."""

    def __init__(self, slot: int, generation: int, quic: List[Any]) -> None:
        self.slot, self.generation, self.quic = slot, generation, quic
        self.pid = 0
        self.exit_call = ""  # where it called sys.exit
        self.failure: Optional[StartError] = None  # why its start failed
        self.receiver: channel.Receiver
        self.sender: channel.Sender

    @classmethod
    def fork(cls, slot: int, generation: int, quic: List[Any], be_worker: Callable[["Child"], int]) -> "Child":
        """Fork; the new process runs `be_worker` and exits with what it returns.

        Raises OSError, and then leaves no pipe open.
        """
        child = cls(slot, generation, quic)
        opened: List[int] = []
        try:
            opened += os.pipe()
            opened += os.pipe()
            sys.stdout.flush()
            sys.stderr.flush()
            # A SIGTERM to the child waits until it no longer has the parent's handler, which would swallow it.
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            child.pid = os.fork()
        except OSError:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
            for descriptor in opened:
                os.close(descriptor)
            raise
        read_parent, write_parent, read_child, write_child = opened
        if child.pid == 0:
            os.close(read_parent)
            os.close(write_child)
            child.receiver, child.sender = channel.Receiver(read_child), channel.Sender(write_parent)
            _exit_with(lambda: be_worker(child), lambda where: child.sender.send(channel.EXIT_CALLED, where=where))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        os.close(write_parent)
        os.close(read_child)
        child.receiver, child.sender = channel.Receiver(read_parent), channel.Sender(write_child)
        return child

    def leave(self, seconds: float, last: bool, starting: bool) -> None:
        """Tell it to finish its requests within `seconds`; end it if it is `starting`.

        `last` says that no other worker goes on accepting.
        """
        self.sender.send(channel.STOP, seconds=seconds, last=last)
        if starting:
            self._signal(signal.SIGTERM)

    def not_ready(self) -> None:
        """Tell it that its readiness fails from now on."""
        self.sender.send(channel.NOT_READY)

    def reopen_logs(self) -> None:
        """Tell it to reopen its log files."""
        self.sender.send(channel.REOPEN_LOGS)

    def kill(self) -> None:
        """Kill it."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def close(self) -> None:
        """Close the pipes to it: in the parent when it has ended, in another worker after the fork."""
        self.receiver.close()
        self.sender.close()


def _exit_with(run: Callable[[], int], tell: Callable[[str], None]) -> None:
    """Run a worker in a process just forked, then exit like any program: `atexit`, threads, buffers."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        for number in _PARENTS:  # a handler and not SIG_IGN, which the application's own subprocesses would inherit
            signal.signal(number, lambda number, frame: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        status = run()
    except BaseException as error:
        leaving = _find_exit(error)
        if leaving is None:
            traceback.print_exc()
        else:
            status = _exit_status(leaving)
            tell(_where(leaving))
    sys.exit(status)


def _find_exit(error: BaseException) -> Optional[SystemExit]:
    """Return the SystemExit that an exception is, or that is in a group, as trio raises."""
    if isinstance(error, SystemExit):
        return error
    found = (_find_exit(one) for one in getattr(error, "exceptions", ()))
    return next((one for one in found if one is not None), None)


def _exit_status(leaving: SystemExit) -> int:
    """Return the exit status that Python would end with, and write the message, if there is one, to stderr."""
    if leaving.code is None or isinstance(leaving.code, int):
        return leaving.code or 0
    sys.stderr.write(f"{leaving.code}\n")
    return 1


def _where(leaving: SystemExit) -> str:
    frames = traceback.extract_tb(leaving.__traceback__)
    return f"sys.exit in {frames[-1].filename}, line {frames[-1].lineno}" if frames else "sys.exit"
