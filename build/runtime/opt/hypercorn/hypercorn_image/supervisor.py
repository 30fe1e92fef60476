"""The supervisor: forks the workers, replaces those that die, and stops them in the right order.

Signal handlers only note what came; one loop acts on it (as in uvicorn's supervisors/multiprocess.py). It serves no
request itself.
"""

import contextlib
import gc
import os
import select
import signal
import sys
import time
from typing import Any, Callable, Dict, List, Optional

from hypercorn_image import channel, worker
from hypercorn_image.effective import Effective
from hypercorn_image.errors import StartError, report
from hypercorn_image.sockets import Listeners

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_KILL_AFTER = 0.9  # seconds after the graceful timeout
_BACK_OFF = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds before the next try, for each death in a row
_LIVED = 10.0  # seconds after which a worker's death begins a new row


class Child:
    """One worker process, as the parent sees it."""

    def __init__(self, pid: int, slot: int, receiver: channel.Receiver, sender: channel.Sender) -> None:
        self.pid, self.slot = pid, slot
        self.receiver, self.sender = receiver, sender
        self.born = time.monotonic()
        self.ready = self.stopping = False
        self.kill_at: Optional[float] = None
        self.replaces: Optional["Child"] = None
        self.failure: Optional[StartError] = None
        self.quic: Dict[str, Any] = {}

    def stop(self, seconds: float) -> None:
        """Tell it to finish what it does within `seconds`; one that is still starting is ended."""
        if self.stopping:
            return
        self.stopping = True
        self.kill_at = time.monotonic() + seconds + _KILL_AFTER
        self.sender.send(channel.STOP, seconds=seconds)
        if not self.ready:
            self.kill_at = time.monotonic() + 0.5
            self.signal(signal.SIGTERM)

    def signal(self, number: int) -> None:
        """Send a signal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


class Supervisor:
    """Runs the workers of one container; `reload` gives a new configuration at SIGHUP."""

    def __init__(self, effective: Effective, listeners: Listeners, reload: Callable[[], Effective]) -> None:
        self.effective, self.listeners, self.reload = effective, listeners, reload
        self.children: Dict[int, Child] = {}
        self.deaths: List[int] = [0] * effective.config.workers
        self.start_at: Dict[int, float] = {slot: 0.0 for slot in range(effective.config.workers)}
        self.stopping = False
        self.status = 0
        self.loaded: Optional[worker.Loaded] = None
        self.announced = False
        self.log = effective.config.log.error_logger
        self._pending: List[int] = []
        self._wake: int = -1

    def run(self) -> int:
        """Supervise until stopped and return the exit status."""
        self._install_signals()
        worker.runner(self.effective.config.worker_class)
        gc.collect()
        gc.freeze()  # the workers share these pages for longer
        while not (self.stopping and not self.children):
            self._start_due()
            self._wait()
            self._act_on_signals()
            self._read_children()
            self._reap()
            self._kill_overdue()
        self._say("info", "Stopped" if self.status == 0 else "Stopped after a failure")
        return self.status

    def _say(self, level: str, message: str, *args: Any) -> None:
        if self.log is not None:
            getattr(self.log, level)(message, *args)

    def _install_signals(self) -> None:
        self._wake, write = os.pipe()
        for descriptor in (self._wake, write):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, lambda number, frame: self._pending.append(number))

    def _wait(self) -> None:
        now = time.monotonic()
        moments = list(self.start_at.values()) if not self.stopping else []
        moments += [child.kill_at for child in self.children.values() if child.kill_at is not None]
        timeout = max(0.0, min(moments) - now) if moments else None
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        for child in self.children.values():
            if not child.receiver.ended:
                poll.register(child.receiver.descriptor, select.POLLIN)
        poll.poll(None if timeout is None else int(timeout * 1000) + 1)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)

    def _act_on_signals(self) -> None:
        while self._pending:
            number = self._pending.pop(0)
            if number in (signal.SIGTERM, signal.SIGINT):
                self._stop(f"Stopping: {signal.Signals(number).name}")

    def _stop(self, message: str) -> None:
        if self.stopping:
            return
        self.stopping = True
        self._say("info", message)
        for child in list(self.children.values()):
            child.stop(self.effective.config.graceful_timeout)

    def _start_due(self) -> None:
        now = time.monotonic()
        for slot, moment in list(self.start_at.items()):
            if not self.stopping and moment <= now:
                del self.start_at[slot]
                self._fork(slot)

    def _fork(self, slot: int) -> Child:
        from_child, to_parent = os.pipe()
        from_parent, to_child = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        quic = self.listeners.open_quic()
        pid = os.fork()
        if pid == 0:
            self._in_child(to_parent, from_parent, [from_child, to_child], quic)
        os.close(to_parent)
        os.close(from_parent)
        child = Child(pid, slot, channel.Receiver(from_child), channel.Sender(to_child))
        child.quic = quic
        self.children[pid] = child
        return child

    def _in_child(self, to_parent: int, from_parent: int, parents: List[int], quic: Dict[str, Any]) -> None:
        """Be the worker; never returns."""
        status = 1
        try:
            worker.default_signals()
            for child in self.children.values():
                child.receiver.close()
                child.sender.close()
            for descriptor in parents:
                os.close(descriptor)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            one = worker.Worker(self.effective.config, self.effective.variables, self.loaded)
            one.to_parent, one.from_parent = channel.Sender(to_parent), channel.Receiver(from_parent)
            self.listeners.adopt(one.config, quic)
            status = worker.run(one)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.exit(status)

    def _read_children(self) -> None:
        for child in list(self.children.values()):
            for message in child.receiver.receive():
                self._heard(child, message)

    def _heard(self, child: Child, message: Dict[str, Any]) -> None:
        what = message["what"]
        if what == channel.READY:
            child.ready = True
            if not self.announced and sum(c.ready for c in self.children.values()) >= self.effective.config.workers:
                self.announced = True
                self._say(
                    "info",
                    "Serving %s at %s with %d %s worker(s)",
                    self.effective.application,
                    self.listeners.describe(),
                    self.effective.config.workers,
                    self.effective.config.worker_class,
                )
        elif what == channel.FAILED:
            child.failure = StartError(message["lines"], message["details"])

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self.children.pop(pid, None)
            if child is not None:  # else an orphan of the application
                self._ended(child, status)

    def _ended(self, child: Child, status: int) -> None:
        for message in child.receiver.receive():
            self._heard(child, message)
        child.receiver.close()
        child.sender.close()
        for sock in child.quic.values():
            sock.close()
        if self.stopping or child.stopping:
            return
        if not child.ready and not self.announced:
            self.status = report(child.failure or StartError([f"a worker ended while starting: {_how(status)}"]))
            self._stop("Stopping: a worker cannot start")
            return
        if time.monotonic() - child.born > _LIVED:
            self.deaths[child.slot] = 0
        delay = _BACK_OFF[min(self.deaths[child.slot], len(_BACK_OFF) - 1)]
        self.deaths[child.slot] += 1
        self._say("error", "Worker %d ended unexpectedly (%s): replaced in %g s", child.pid, _how(status), delay)
        self.start_at[child.slot] = time.monotonic() + delay

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for child in self.children.values():
            if child.kill_at is not None and now >= child.kill_at:
                child.kill_at = None
                child.signal(signal.SIGKILL)


def _how(status: int) -> str:
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"status {os.WEXITSTATUS(status)}"
