"""A worker process as its parent sees it: forking it, talking to it, ending it."""

import contextlib
import os
import signal
import sys
import time
import traceback
from typing import Any, Callable, Dict, Optional

from hypercorn_image.errors import StartError
from hypercorn_image.process import channel

_AFTER_TIMEOUT = 0.75  # seconds after the graceful timeout at which a worker is killed
_WHILE_STARTING = 0.5  # seconds that one which serves nothing yet has to end


class Child:
    """One worker process. `slot` is its place among the workers; `quic` are the UDP sockets that are its own."""

    def __init__(self, slot: int, quic: Dict[str, Any]) -> None:
        self.slot, self.quic = slot, quic
        self.pid = 0
        self.born = time.monotonic()
        self.ready = False  # accepts connections
        self.leaving = False  # a replacement has been asked for
        self.stopping = False  # was told to stop
        self.rolling = False  # started by a SIGHUP
        self.kill_at: Optional[float] = None
        self.failure: Optional[StartError] = None
        self.receiver: channel.Receiver
        self.sender: channel.Sender

    @classmethod
    def fork(cls, slot: int, quic: Dict[str, Any], be_worker: Callable[["Child"], int]) -> "Child":
        """Fork; the new process runs `be_worker` and exits with what it returns. Raises OSError."""
        child = cls(slot, quic)
        read_parent, write_parent = os.pipe()
        read_child, write_child = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        child.pid = os.fork()
        if child.pid == 0:
            os.close(read_parent)
            os.close(write_child)
            child.receiver, child.sender = channel.Receiver(read_child), channel.Sender(write_parent)
            _exit_with(lambda: be_worker(child))
        os.close(write_parent)
        os.close(read_child)
        child.receiver, child.sender = channel.Receiver(read_parent), channel.Sender(write_child)
        return child

    def stop(self, seconds: float, last: bool = False) -> None:
        """Tell it to finish what it does within `seconds`; one that is still starting is ended.

        `last` says that nobody goes on accepting.
        """
        if self.stopping:
            return
        self.stopping = True
        self.sender.send(channel.STOP, seconds=seconds, last=last)
        self.kill_at = time.monotonic() + (seconds + _AFTER_TIMEOUT if self.ready else _WHILE_STARTING)
        if not self.ready:
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it now."""
        self.kill_at = None
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def close_quic(self) -> None:
        """Close the parent's copies of its UDP sockets: the kernel then gives their share to the replacement."""
        for sock in self.quic.values():
            sock.close()
        self.quic = {}

    def close(self) -> None:
        """Close all that the parent holds of it."""
        self.receiver.close()
        self.sender.close()
        self.close_quic()

    def forget(self) -> None:
        """In another worker just forked: close what was inherited of this one."""
        self.close()


def _exit_with(run: Callable[[], int]) -> None:
    """Run a worker in a process just forked and leave as a program does: `atexit`, threads, buffers."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        # Ctrl-C goes to the whole process group: it is for the parent to act on. A handler and not SIG_IGN, which the
        # application's own subprocesses would inherit.
        signal.signal(signal.SIGINT, lambda number, frame: None)
        status = run()
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
    sys.exit(status)


def how_ended(status: int) -> str:
    """Return in words how a process ended, from the status that `waitpid` gives."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return signal.Signals(number).name
        except ValueError:
            return f"signal {number}"
    return f"status {os.WEXITSTATUS(status)}"
