"""The supervisor: forks the workers, replaces those that die or have served enough, and stops them in the right order.

Signal handlers only note what came; one loop acts on it (as in uvicorn's supervisors/multiprocess.py). It serves no
request itself. What a worker does with a stop is in `worker`.
"""

import contextlib
import gc
import os
import select
import signal
import time
from typing import Any, Callable, Dict, List, Optional

from hypercorn_image.config.effective import Effective
from hypercorn_image.errors import StartError, report
from hypercorn_image.listen import draining
from hypercorn_image.listen.sockets import Listeners
from hypercorn_image.process import channel
from hypercorn_image.process.children import Child, how_ended
from hypercorn_image.worker import running, worker

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_BACK_OFF = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds before the next try, for each failure in a row
_LIVED = 10.0  # seconds of life after which a worker's death begins a new row


class Roll:
    """A replacement of all workers under way: the new configuration, and the slots that still have an old one."""

    def __init__(self, effective: Effective, listeners: Listeners) -> None:
        self.effective, self.listeners = effective, listeners
        self.slots: List[int] = list(range(effective.config.workers))
        self.proved = False  # whether one new worker has started


class Supervisor:
    """Runs the workers of one container. `reload` reads the configuration again, at SIGHUP; `on_serving` is called once
    all workers accept connections."""

    def __init__(
        self,
        effective: Effective,
        listeners: Listeners,
        reload: Callable[[], Effective],
        on_serving: Callable[[], None],
    ) -> None:
        self.effective, self.listeners, self.reload, self.on_serving = effective, listeners, reload, on_serving
        self.loaded: Optional[worker.Loaded] = None  # with PRELOAD_APP
        self.children: Dict[int, Child] = {}
        self.start_at: Dict[int, float] = dict.fromkeys(range(effective.config.workers), 0.0)
        self.failures: Dict[int, int] = {}
        self.roll: Optional[Roll] = None
        self.roll_again = False
        self.serving = self.stopping = False
        self.status = 0
        self._orphaned_quic: Dict[int, Dict[str, Any]] = {}  # of workers that died, for their replacements
        self._signals: List[int] = []
        self._pipe = (-1, -1)

    def run(self) -> int:
        """Supervise until stopped and return the exit status."""
        self._install_signals()
        running.runner(self.effective.config.worker_class)
        gc.collect()
        gc.freeze()  # a collection would write to every page that the workers share
        while not (self.stopping and not self.children):
            self._start_due()
            self._wait()
            self._act_on_signals()
            self._read_children()
            self._reap()
            self._kill_overdue()
        if self.status == 0:
            self._say("info", "Stopped")
        return self.status

    def _say(self, level: str, message: str, *args: Any) -> None:
        logger = self.effective.config.log.error_logger
        if logger is not None:
            getattr(logger, level)(message, *args)

    # ---- signals and waiting -------------------------------------------------------------------------------------

    def _install_signals(self) -> None:
        self._pipe = os.pipe()
        for descriptor in self._pipe:
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, lambda number, _: self._signals.append(number))

    def _wait(self) -> None:
        """Wait for a signal, a message, or the next moment at which there is something to do."""
        moments = [] if self.stopping else list(self.start_at.values())
        moments += [child.kill_at for child in self.children.values() if child.kill_at is not None]
        timeout = max(0.0, min(moments) - time.monotonic()) if moments else None
        poll = select.poll()
        poll.register(self._pipe[0], select.POLLIN)
        for child in self.children.values():
            if not child.receiver.ended:
                poll.register(child.receiver.descriptor, select.POLLIN)
        poll.poll(None if timeout is None else int(timeout * 1000) + 1)
        with contextlib.suppress(BlockingIOError):
            os.read(self._pipe[0], 4096)

    def _act_on_signals(self) -> None:
        while self._signals:
            number = self._signals.pop(0)
            if number in (signal.SIGTERM, signal.SIGINT):
                self._stop(f"Stopping after {signal.Signals(number).name}")
            elif number == signal.SIGHUP:
                self._begin_roll()

    def _stop(self, message: str) -> None:
        if self.stopping:
            return  # a second signal must not cut what the first lets finish
        self.stopping = True
        self._say("info", message)
        graceful_timeout = self.effective.config.graceful_timeout
        stop_at = time.monotonic() + graceful_timeout
        self._close_listeners(min(draining.HALF_OPEN, graceful_timeout))
        for child in list(self.children.values()):
            child.stop(max(0.0, stop_at - time.monotonic()), last=True)

    def _close_listeners(self, seconds: float) -> None:
        """Let nobody new in, and close once those who are half in have arrived: the workers still accept them."""
        for listeners in self._all_listeners():
            listeners.refuse_new()
        limit = time.monotonic() + seconds
        while any(listeners.half_open() for listeners in self._all_listeners()) and time.monotonic() < limit:
            time.sleep(0.01)
        for listeners in self._all_listeners():
            listeners.close()

    def _all_listeners(self) -> List[Listeners]:
        return [self.listeners] + ([self.roll.listeners] if self.roll is not None else [])

    def _kill_overdue(self) -> None:
        for child in self.children.values():
            if child.kill_at is not None and time.monotonic() >= child.kill_at:
                if child.ready:
                    self._say("warning", "Worker %d did not end within the graceful timeout: killed", child.pid)
                child.kill()

    # ---- starting ------------------------------------------------------------------------------------------------

    def _current(self, slot: int) -> Optional[Child]:
        """Return the worker that serves in `slot`, not one that is starting or leaving."""
        return next((c for c in self.children.values() if c.slot == slot and c.ready and not c.stopping), None)

    def _starting(self, slot: int) -> Optional[Child]:
        return next((c for c in self.children.values() if c.slot == slot and not c.ready and not c.stopping), None)

    def _start_due(self) -> None:
        for slot, moment in list(self.start_at.items()):
            if self.stopping or moment > time.monotonic():
                continue
            del self.start_at[slot]
            if self._starting(slot) is None:
                try:
                    self._fork(slot)
                except (OSError, StartError) as error:  # no process, no descriptor, no UDP socket
                    self._failed_to_start(
                        slot, error if isinstance(error, StartError) else StartError([f"fork: {error}"])
                    )

    def _fork(self, slot: int) -> None:
        roll = self.roll if self.roll is not None and slot in self.roll.slots else None
        effective, listeners = (roll.effective, roll.listeners) if roll else (self.effective, self.listeners)
        orphaned = self._orphaned_quic.pop(slot, None)
        quic = orphaned if orphaned is not None else listeners.open_quic()
        child = Child.fork(slot, quic, lambda one: self._be_worker(one, effective, listeners))
        child.rolling = roll is not None
        self.children[child.pid] = child

    def _be_worker(self, one: Child, effective: Effective, listeners: Listeners) -> int:
        """Serve, in a child just forked, and return the exit status."""
        for descriptor in self._pipe:
            os.close(descriptor)
        for child in self.children.values():
            child.forget()
        for others in self._all_listeners():
            if others is not listeners:
                others.close(but=listeners.shared.values())
        serving = worker.Worker(effective.config, effective.variables, self.loaded, listeners, one.quic)
        serving.to_parent, serving.from_parent = one.sender, one.receiver
        return running.run(serving)

    # ---- what workers say ----------------------------------------------------------------------------------------

    def _read_children(self) -> None:
        for child in list(self.children.values()):
            for message in child.receiver.receive():
                self._heard(child, message)

    def _heard(self, child: Child, message: Dict[str, Any]) -> None:
        what = message["what"]
        if what == channel.READY:
            self._is_ready(child)
        elif what == channel.FAILED:
            child.failure = StartError(message["lines"], message["details"])
        elif what == channel.QUIC_CLOSED:
            child.close_quic()
        elif what == channel.RECYCLE and not self.stopping and not child.stopping and not child.leaving:
            child.leaving = True
            reason = f"has served {message['requests']} requests" if "requests" in message else "was asked to stop"
            self._say("info", "Worker %d %s: replacing it", child.pid, reason)
            self.start_at.setdefault(child.slot, 0.0)

    def _is_ready(self, child: Child) -> None:
        previous = self._current(child.slot)
        child.ready = True
        if previous is not None:
            previous.stop(self.effective.config.graceful_timeout)
            self._say("info", "Worker %d replaces worker %d", child.pid, previous.pid)
        elif self.serving:
            self._say("info", "Worker %d started", child.pid)
        if child.rolling:
            self._continue_roll(child)
        if not self.serving and all(self._current(slot) for slot in range(self.effective.config.workers)):
            self.serving = True
            self.on_serving()
            config = self.effective.config
            self._say(
                "info",
                "Serving %s at %s, %d %s worker%s",
                self.effective.application,
                self.listeners.describe(),
                config.workers,
                config.worker_class,
                "" if config.workers == 1 else "s",
            )

    # ---- what becomes of workers ---------------------------------------------------------------------------------

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self.children.get(pid)
            if child is not None:  # else an orphan of the application: reaped, and that is all
                for message in child.receiver.receive():
                    self._heard(child, message)
                del self.children[pid]
                self._ended(child, status)

    def _ended(self, child: Child, status: int) -> None:
        expected = self.stopping or child.stopping
        if not expected and child.ready and child.quic:
            # Its replacement gets the same sockets, so that the kernel's choice among the workers' stays as it is.
            self._orphaned_quic[child.slot] = child.quic
            child.quic = {}
        child.close()
        if expected:
            self._say("debug", "Worker %d has ended (%s)", child.pid, how_ended(status))
        elif not child.ready:
            self._failed_to_start(
                child.slot,
                child.failure or StartError([f"a worker ended while it was starting: {how_ended(status)}"]),
                child.rolling,
            )
        elif self._starting(child.slot) is None:
            if time.monotonic() - child.born > _LIVED:
                self.failures.pop(child.slot, None)
            delay = self._try_again(child.slot)
            self._say(
                "error",
                "Worker %d ended unexpectedly (%s): replaced %s",
                child.pid,
                how_ended(status),
                f"in {delay:g} s" if delay else "at once",
            )

    def _try_again(self, slot: int) -> float:
        """Plan the next start in `slot` and return in how many seconds it will be."""
        failed = self.failures.get(slot, 0)
        self.failures[slot] = failed + 1
        delay = _BACK_OFF[min(failed, len(_BACK_OFF) - 1)]
        self.start_at[slot] = time.monotonic() + delay
        return delay

    def _failed_to_start(self, slot: int, failure: StartError, rolling: bool = False) -> None:
        if rolling and self.roll is not None:
            self._abort_roll(failure)
            return
        if not self.serving or not any(child.ready for child in self.children.values()):
            # Nothing serves and nothing will: whoever runs the container is to know, and to decide.
            self.status = report(failure)
            self._stop("Stopping because a worker cannot start")
            return
        self.failures[slot] = max(1, self.failures.get(slot, 0))
        delay = self._try_again(slot)
        self._say("error", "A worker cannot start: %s: tried again in %g s", "; ".join(failure.lines), delay)

    # ---- SIGHUP --------------------------------------------------------------------------------------------------

    def _begin_roll(self) -> None:
        if self.stopping or not self.serving:
            return
        if self.roll is not None:
            self.roll_again = True
            return
        listeners: Optional[Listeners] = None
        try:
            effective = self.reload()
            listeners = Listeners(effective.config)
            listeners.open(self.listeners.shared)
            running.runner(effective.config.worker_class)
        except StartError as error:
            self._say(
                "error", "SIGHUP: the old workers stay, the new configuration is wrong: %s", "; ".join(error.lines)
            )
            return
        self._say("info", "SIGHUP: replacing %d worker(s)", len(self.children))
        listeners.same_quic(self.listeners)
        self.roll = Roll(effective, listeners)
        self.start_at[self.roll.slots[0]] = 0.0

    def _continue_roll(self, child: Child) -> None:
        roll = self.roll
        if roll is None:
            return
        roll.slots.remove(child.slot)
        roll.proved = True
        if roll.slots:
            self.start_at[roll.slots[0]] = 0.0
            return
        old, self.listeners, self.effective, self.roll = self.listeners, roll.listeners, roll.effective, None
        old.close(but=self.listeners.shared.values())
        for extra in self.children.values():
            if extra.slot >= self.effective.config.workers:
                extra.stop(self.effective.config.graceful_timeout)
        self.on_serving()
        self._say("info", "SIGHUP: all workers are replaced; serving at %s", self.listeners.describe())
        if self.roll_again:
            self.roll_again = False
            self._begin_roll()

    def _abort_roll(self, failure: StartError) -> None:
        assert self.roll is not None
        if failure.details:
            report(StartError([], failure.details))
        self._say("error", "SIGHUP: the old workers stay, a new one cannot start: %s", "; ".join(failure.lines))
        roll, self.roll = self.roll, None
        self.roll_again = False
        if not roll.proved:
            roll.listeners.close(but=self.listeners.shared.values())
            return
        # Some are new already, and prove that it can work: what is replaced from now on is new as well.
        old, self.listeners, self.effective = self.listeners, roll.listeners, roll.effective
        old.close(but=self.listeners.shared.values())
