# SPDX-License-Identifier: MIT
"""Which workers there should be, and what to do about it: one pure structure and one `reconcile`.

Signals, deaths, messages and time only change what is wanted (`stop`, `ask_reload`, `reload`) or known (`forked`,
`ready`, `ended`). `reconcile` alone decides. Nothing here forks, logs or reads a clock: that is `supervisor`'s.

Each slot from 0 to `workers` - 1 wants one worker that serves, of the wanted generation of the configuration. A reload
makes a new generation wanted. If it fails before one of its workers has served, the one before is wanted again.
"""

from enum import Enum
from typing import Dict, Iterator, List, NamedTuple, Optional, Set, Union

from hypercorn_image.errors import StartError

BACK_OFF = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds before the next start, for each failure in a row
LIVED = 10.0  # seconds: the death of an older worker is the first failure of a new row
AFTER_TIMEOUT = 0.75  # seconds after the graceful timeout at which a worker is killed
ROUNDING = 0.01  # seconds
WHILE_STARTING = 0.5  # seconds that a starting worker gets to exit
# While other workers serve, a start may take STARTUP_TIMEOUT and the longer of these two.
SLOWER = 5  # times the slowest start so far
AT_LEAST = 60.0  # seconds
SAID_AFTER = 30.0  # seconds after which the log says that a worker is still starting


class Timer(NamedTuple):
    """A stretch of time."""

    since: float
    seconds: float

    def left(self, now: float) -> float:
        """Return how many seconds remain."""
        return max(0.0, self.since + self.seconds - now)


class Generation(NamedTuple):
    """A configuration, as far as it says which workers there should be. Times are in seconds."""

    number: int
    workers: int
    graceful_timeout: float
    startup_timeout: float
    drain_delay: float = 0.0


class State(Enum):
    """Where a worker is in its life."""

    STARTING = "starting"
    SERVING = "serving"
    LEAVING = "leaving"  # was told to leave


class Worker:
    """What is known of one worker process."""

    def __init__(self, pid: int, slot: int, generation: Generation, now: float) -> None:
        self.pid, self.slot, self.generation, self.born = pid, slot, generation, now
        self.state = State.STARTING
        self.recycle = False  # asks to be replaced
        self.accepts = False  # may have connections, even if it does not serve yet
        self.served = False
        self.limit: Optional[Timer] = None  # when it runs out, the worker is killed
        self.patience: Optional[Timer] = Timer(now, SAID_AFTER)  # when it runs out, the log says that it is slow
        self.killed = False


class Slot:
    """A place among the workers: how often it has failed in a row, and until when it waits."""

    def __init__(self) -> None:
        self.failures = 0
        self.wait: Optional[Timer] = None

    def failed(self, now: float) -> float:
        """Note a failure; return the seconds until the next start."""
        delay = BACK_OFF[min(self.failures, len(BACK_OFF) - 1)]
        self.failures += 1
        self.wait = Timer(now, delay)
        return delay


# ---- what reconcile returns: actions, and notes, which are only logged -----------------------------------------------


class Fork(NamedTuple):
    """Fork a worker; then call `forked` or `fork_failed`."""

    slot: int
    generation: Generation


class Leave(NamedTuple):
    """Tell a worker to finish within `seconds`; end one that is `starting`. `last`: no other goes on accepting."""

    pid: int
    seconds: float
    last: bool
    starting: bool


class Kill(NamedTuple):
    """Kill a worker."""

    pid: int


class CloseListeners(NamedTuple):
    """Refuse new connections, and take at most `seconds` for it. Then all workers leave."""

    seconds: float


class Resized(NamedTuple):
    """Another number of workers is wanted."""

    reason: str
    workers: int


class ReadConfiguration(NamedTuple):
    """Read the configuration again; then call `reload`, or log why it failed."""


class Serving(NamedTuple):
    """Every slot is served, for the first time."""


class Started(NamedTuple):
    """A worker serves."""

    pid: int


class StillStarting(NamedTuple):
    """A worker has been starting for `seconds`."""

    pid: int
    seconds: float


class Replaced(NamedTuple):
    """A worker serves in the place of another, which leaves."""

    pid: int
    old: int


class Restarting(NamedTuple):
    """A worker asks to be replaced."""

    pid: int
    reason: str


class Died(NamedTuple):
    """A worker that served has died. `retry`: seconds until the next start; None when its replacement is starting."""

    pid: int
    how: str
    retry: Optional[float]


class Left(NamedTuple):
    """A worker that was told to leave has ended."""

    pid: int
    how: str


class FailedToStart(NamedTuple):
    """A worker could not start; the next try is in `retry` seconds."""

    failure: StartError
    retry: float


class CannotServe(NamedTuple):
    """A worker could not start, and nothing serves: the container ends."""

    failure: StartError


class ReloadStarted(NamedTuple):
    """A reload begins."""

    workers: int


class ReloadFailed(NamedTuple):
    """A reload has failed; the workers that were there stay."""

    failure: StartError


class ReloadComplete(NamedTuple):
    """Every slot is served by the new configuration."""


class Overdue(NamedTuple):
    """A worker is killed, since it did not leave within `seconds`."""

    pid: int
    seconds: float


class Draining(NamedTuple):
    """The stop begins in `seconds`. Until then requests are served, and readiness fails."""

    reason: str
    seconds: float


class Stopping(NamedTuple):
    """The stop begins."""

    reason: str


Action = Union[
    Fork, Leave, Kill, CloseListeners, ReadConfiguration, Serving, Started, StillStarting, Replaced, Restarting, Died,
    Left, FailedToStart, CannotServe, Resized, ReloadStarted, ReloadFailed, ReloadComplete, Overdue, Draining, Stopping,
]  # fmt: skip


class Wanted:
    """What is wanted and what is known.

    Every `now` is in seconds, of one clock. Time stands still while that clock goes back.
    """

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self.fallback: Optional[Generation] = None  # wanted again if `generation`, which is new, cannot start
        self.reload_asked = self.reloading = False
        self._fallback_reloading = False  # whether the reload to `fallback` was still on its way
        self.serving = False  # every slot has been served once
        self.draining: Optional[Timer] = None  # the stop begins when it has run out
        self.stopping: Optional[Timer] = None
        self._at_once = False
        self.status = 0
        self.workers: Dict[int, Worker] = {}
        self._slots: Dict[int, Slot] = {}
        self._slowest = 0.0
        self._actions: List[Action] = []
        self._listening = True
        self._time = self._seen = 0.0

    @property
    def over(self) -> bool:
        """Whether the stop has ended."""
        return self.stopping is not None and not self.workers

    def generations(self) -> Set[int]:
        """Return the numbers of the generations that have a worker which stays, or may get one."""
        numbers = {worker.generation.number for worker in self.workers.values() if worker.state is not State.LEAVING}
        wanted = (self.generation, self.fallback)
        return numbers | {generation.number for generation in wanted if generation is not None}

    def leaves_a_gap(self, pid: int) -> bool:
        """Tell whether the end of a worker is unexpected, and no other serves or starts in its slot."""
        worker = self.workers.get(pid)
        if worker is None or self.stopping is not None:
            return False
        others = self._in(worker.slot, State.STARTING) + self._in(worker.slot, State.SERVING)
        return others == [worker]

    # ---- what happens ------------------------------------------------------------------------------------------------

    def forked(self, fork: Fork, pid: int, now: float) -> None:
        """A worker was forked."""
        now = self._tick(now)
        worker = self.workers[pid] = Worker(pid, fork.slot, fork.generation, now)
        if self.serving or self._in(fork.slot, State.SERVING):  # a first start has no limit
            worker.limit = Timer(now, fork.generation.startup_timeout + max(AT_LEAST, SLOWER * self._slowest))

    def fork_failed(self, fork: Fork, failure: StartError, now: float) -> None:
        """A worker could not be forked, for lack of processes, memory or sockets. This may pass."""
        self._failed(fork.slot, fork.generation, failure, self._tick(now), passing=True)

    def accepts(self, pid: int, now: float) -> None:
        """A worker opens for connections. It gets the time for their requests, also when it was told to leave."""
        now = self._tick(now)
        worker = self.workers.get(pid)
        if worker is not None and not worker.killed:
            worker.accepts = True
            if worker.state is State.LEAVING:
                worker.limit = self._time_to_leave(worker, now)

    def ready(self, pid: int, now: float) -> None:
        """A worker serves."""
        self.accepts(pid, now)
        now = self._tick(now)
        worker = self.workers.get(pid)
        if worker is None or worker.killed:
            return
        worker.served = True
        if worker.state is State.LEAVING:  # it began to serve before it heard
            return
        worker.state, worker.limit = State.SERVING, None
        self._slowest = max(self._slowest, now - worker.born)
        self.fallback = None  # proved: all that start are of the wanted generation
        if self.serving and self._in(worker.slot, State.SERVING) == [worker]:
            self._actions.append(Started(pid))

    def leaves(self, pid: int, reason: str) -> None:
        """A worker asks to be replaced."""
        worker = self.workers.get(pid)
        if worker is not None and worker.state is not State.LEAVING and not worker.recycle:
            worker.recycle = True
            self._actions.append(Restarting(pid, reason))

    def ended(self, pid: int, how: str, failure: Optional[StartError], now: float) -> None:
        """A worker has ended, `how` in words. `failure` is what it said of a start that failed."""
        now = self._tick(now)
        worker = self.workers.pop(pid, None)
        if worker is None:
            return
        if worker.state is State.STARTING:
            if worker.killed and worker.limit is not None:
                failure = StartError([f"it did not start within {worker.limit.seconds:g} s"])
            passing = failure is None and how == "SIGKILL"  # out of memory, or somebody: the configuration is not wrong
            failure = failure or StartError([f"it exited with {how} while it was starting"])
            self._failed(worker.slot, worker.generation, failure, now, passing)
        elif worker.state is State.SERVING:
            slot = self._slot(worker.slot)
            if now - worker.born > LIVED:
                slot.failures = 0
            delay = slot.failed(now)
            self._actions.append(Died(pid, how, None if self._in(worker.slot, State.STARTING) else delay))
        else:
            self._actions.append(Left(pid, how))

    def _failed(self, slot: int, generation: Generation, failure: StartError, now: float, passing: bool) -> None:
        if self.stopping or not self._wants(generation):
            return
        if self.fallback is not None:
            self.generation, self.fallback = self.fallback, None
            self.reloading = self._fallback_reloading  # the reload before it goes on
            self._actions.append(ReloadFailed(failure))
        elif self.serving and (passing or self._in(None, State.SERVING)):
            place = self._slot(slot)
            place.failures = max(1, place.failures)
            self._actions.append(FailedToStart(failure, place.failed(now)))
        else:  # nothing serves, so the container ends
            self.status = failure.status
            self._actions.append(CannotServe(failure))
            self._stop("A worker failed to start", now)

    def ask_reload(self) -> None:
        """The configuration is to be read again, once every slot has been served."""
        self.reload_asked = True

    def reload(self, generation: Generation) -> None:
        """A new generation is wanted, even if the reload before it has not ended."""
        if self.fallback is None:
            self.fallback, self._fallback_reloading = self.generation, self.reloading
        self.generation, self.reloading = generation, True
        self._slots = {}
        self._actions.append(ReloadStarted(generation.workers))

    def resize(self, by: int, reason: str) -> None:
        """`by` more workers are wanted until the next reload, and at least one in all."""
        if self.stopping is None:
            self.generation = self.generation._replace(workers=max(1, self.generation.workers + by))
            self._actions.append(Resized(reason, self.generation.workers))

    def stop(self, reason: str, now: float, at_once: bool = False) -> None:
        """After the drain delay, all workers leave within the graceful timeout.

        A second stop only ends the delay. A stop `at_once` cuts requests in progress. A server that has not served yet
        has no delay.
        """
        now = self._tick(now)
        delay = 0.0 if at_once or not self.serving or self.stopping is not None else self.generation.drain_delay
        if delay and self.draining is None:
            self.draining = Timer(now, delay)
            self._actions.append(Draining(reason, delay))
            return
        self._stop(reason, now)
        if at_once:
            self._at_once = True
            self.stopping = Timer(now, 0.0)

    def _stop(self, reason: str, now: float) -> None:
        if self.stopping is None:
            self.stopping = Timer(now, self.generation.graceful_timeout)
            self._actions.append(Stopping(reason))

    # ---- what follows ------------------------------------------------------------------------------------------------

    def reconcile(self, now: float) -> List[Action]:
        """Return what to do and log now, in this order. Call it until it returns nothing."""
        now = self._tick(now)
        if self.draining is not None and self.draining.left(now) <= 0:
            self._stop("DRAIN_DELAY is over", now)
        actions, self._actions = self._actions, []
        if self.stopping is not None:
            actions += self._leave_all(now)
        else:
            actions += self._settle()
            actions += self._retire(now)
            actions += self._start(now)
        return actions + list(self._slow(now)) + list(self._overdue(now))

    def wake_in(self, now: float) -> Optional[float]:
        """Return the seconds after which `reconcile` must be called; None when nothing is due."""
        now = self._tick(now)
        limits = [worker.limit for worker in self.workers.values() if not worker.killed]
        limits += [worker.patience for worker in self._in(None, State.STARTING)]
        moments = [timer.left(now) for timer in limits if timer is not None]
        if self.stopping is None:
            waits = [self._slot(slot).wait for slot in range(self.generation.workers)]
            moments += [wait.left(now) for wait in waits if wait is not None and wait.left(now) > 0]
            moments += [self.draining.left(now)] if self.draining is not None else []
        return min(moments, default=None)

    def _tick(self, now: float) -> float:
        self._time, self._seen = self._time + max(0.0, now - self._seen), now
        return self._time

    def age(self, worker: Worker, now: float) -> float:
        """Return how old a worker is, in seconds."""
        return self._tick(now) - worker.born

    def _wants(self, generation: Generation) -> bool:
        return generation.number == self.generation.number

    def _slot(self, number: int) -> Slot:
        return self._slots.setdefault(number, Slot())

    def _in(self, slot: Optional[int], state: State) -> List[Worker]:
        """Return the workers of a slot (None: of any) in a state, the oldest first."""
        return [worker for worker in self.workers.values() if worker.state is state and slot in (None, worker.slot)]

    def _lacks(self, slot: int) -> bool:
        """Tell whether a slot has no worker that stays, and none that is starting."""
        serving = self._in(slot, State.SERVING)
        stays = any(not worker.recycle and self._wants(worker.generation) for worker in serving)
        return not stays and not self._in(slot, State.STARTING)

    def _settle(self) -> Iterator[Action]:
        """Note what has been reached, and begin a reload that was asked for."""
        served = [self._in(slot, State.SERVING) for slot in range(self.generation.workers)]
        if not self.serving and all(served):
            self.serving = True
            yield Serving()
        if self.reloading and all(any(self._wants(worker.generation) for worker in workers) for workers in served):
            self.reloading = False
            yield ReloadComplete()
        if self.reload_asked and self.serving:
            self.reload_asked = False
            yield ReadConfiguration()

    def _retire(self, now: float) -> Iterator[Action]:
        """Tell workers to leave that were replaced, are of an old generation, or are more than wanted."""
        for worker in self._in(None, State.STARTING):
            if not self._wants(worker.generation) or worker.slot >= self.generation.workers:
                yield self._leave(worker, now)
        for worker in self._in(None, State.SERVING):
            newer = self._in(worker.slot, State.SERVING)[-1]
            if newer is not worker:
                yield Replaced(newer.pid, worker.pid)
                yield self._leave(worker, now)
            elif worker.slot >= self.generation.workers and not self.reloading:
                yield self._leave(worker, now)

    def _start(self, now: float) -> Iterator[Action]:
        """Fork the workers that are lacking. Those that serve are replaced one at a time.

        A generation of which no worker has served yet starts one at a time too.
        """
        unproved = self.fallback is not None
        busy = any(unproved or self._in(worker.slot, State.SERVING) for worker in self._in(None, State.STARTING))
        for number in range(self.generation.workers):
            wait = self._slot(number).wait
            if not self._lacks(number) or (wait is not None and wait.left(now) > 0):
                continue
            rolls = unproved or any(not worker.recycle for worker in self._in(number, State.SERVING))
            if rolls and busy:
                continue
            busy = busy or rolls
            yield Fork(number, self.generation)

    def _leave_all(self, now: float) -> Iterator[Action]:
        assert self.stopping is not None
        if self._listening:
            self._listening = False
            yield CloseListeners(self.stopping.left(now))
            return  # it takes time: workers are told what is left after it
        most = self.stopping.left(now) + AFTER_TIMEOUT + ROUNDING
        for worker in list(self.workers.values()):
            leaving = worker.state is State.LEAVING
            if not leaving or (worker.limit is not None and worker.limit.left(now) > most):
                yield self._leave(worker, now)

    def _leave(self, worker: Worker, now: float) -> Leave:
        starting = worker.state is State.STARTING and not worker.accepts
        worker.state = State.LEAVING
        worker.limit = Timer(now, WHILE_STARTING) if starting else self._time_to_leave(worker, now)
        return Leave(worker.pid, self._seconds(worker, now), self.stopping is not None, starting)

    def _seconds(self, worker: Worker, now: float) -> float:
        """Return the seconds that a worker which leaves gets for its requests."""
        return worker.generation.graceful_timeout if self.stopping is None else self.stopping.left(now)

    def _time_to_leave(self, worker: Worker, now: float) -> Timer:
        return Timer(now, self._seconds(worker, now) + AFTER_TIMEOUT)

    def _slow(self, now: float) -> Iterator[Action]:
        for worker in self._in(None, State.STARTING):
            if worker.patience is not None and worker.patience.left(now) <= 0:
                worker.patience = None
                yield StillStarting(worker.pid, SAID_AFTER)

    def _overdue(self, now: float) -> Iterator[Action]:
        for worker in self.workers.values():
            if worker.limit is not None and not worker.killed and worker.limit.left(now) <= 0:
                worker.killed = True
                if worker.served and not self._at_once:
                    yield Overdue(worker.pid, worker.generation.graceful_timeout)
                yield Kill(worker.pid)
