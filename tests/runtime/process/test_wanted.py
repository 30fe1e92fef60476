"""Random histories against the pure structure of `process/wanted.py`, and what must hold in each.

The world below does what the structure says, as well or badly as hypothesis likes. After each step and at the end the
invariants are checked. FULL=1 tries 20,000 histories.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

from hypercorn_image.errors import StartError
from hypercorn_image.process import wanted
from hypercorn_image.process.wanted import Generation, State, Wanted
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

GRACEFUL, STARTUP = 20.0, 10.0
HISTORIES = 20_000 if os.environ.get("FULL") else 500
ROUNDING = 0.001  # seconds
ENDLESS = 10_000  # steps, far more than anything here needs


def configured(number: int, workers: int, drain_delay: float = 0.0) -> Generation:
    return Generation(number, workers, GRACEFUL, STARTUP, drain_delay)


class World(RuleBasedStateMachine):
    """Processes that start, serve, die and leave; a clock; an operator."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.pids, self.generations, self.drain_delay = 100.0, 0, 0, 0.0
        self.elapsed = 0.0  # seconds by a clock that nobody sets back
        self.due: dict[tuple[int, wanted.Timer], float] = {}  # when a worker's limit runs out, by that clock
        self.fork_fails = False
        self.reads: list[int | None] = []  # what the next reads of the configuration give: workers, or None if wrong
        self.wanted = Wanted(configured(0, 1))
        self.reloads: list[int] = []  # generations whose reload has begun and not ended
        self.proved = 0  # the last generation that a worker has served
        self.told: dict[int, float] = {}  # who was told to leave, and within how many seconds
        self.at_once = False
        self.recycled: set[int] = set()  # have asked to be replaced
        self.killed: set[int] = set()
        self.opening: set[int] = set()  # that have connections before they serve
        self.said: Counter[type] = Counter()
        self.asked_since_read = False

    # ---- doing what it says ------------------------------------------------------------------------------------------

    def react(self) -> None:
        for _ in range(ENDLESS):
            actions = self.wanted.reconcile(self.now)
            for action in actions:
                self.said[type(action)] += 1
                self.carry_out(action)
            if not actions:
                return
        raise AssertionError("reconcile never comes to an end")

    def carry_out(self, action: Any) -> None:
        if isinstance(action, wanted.Fork):
            assert self.wanted.stopping is None, "a stop starts nobody"
            if self.fork_fails:
                self.fork_fails = False
                self.wanted.fork_failed(action, StartError(["fork: no"]), self.now)
            else:
                self.pids += 1
                self.wanted.forked(action, self.pids, self.now)
        elif isinstance(action, wanted.ReadConfiguration):
            self.asked_since_read = False
            workers = self.reads.pop(0) if self.reads else 2
            if workers is not None:
                self.generations += 1
                self.reloads.append(self.generations)
                self.wanted.reload(configured(self.generations, workers, self.drain_delay))
        elif isinstance(action, wanted.ReloadComplete):
            assert self.reloads, "a reload ends once"
            self.reloads = []
        elif isinstance(action, wanted.ReloadFailed):
            assert self.reloads, "a reload ends once"
            assert self.wanted.generation.number == self.proved, "back to what has served"
            self.reloads = [number for number in self.reloads if number <= self.wanted.generation.number]
        elif isinstance(action, wanted.Replaced):
            assert action.pid not in self.killed, "nobody leaves for a worker that was killed"
        elif isinstance(action, wanted.Leave):
            assert action.pid in self.wanted.workers, "only workers that are there are told anything"
            again = action.seconds + ROUNDING < self.told.get(action.pid, float("inf"))
            assert again, "it is told once, and again only to be quicker"
            unneeded = action.starting or action.pid in self.opening or self.may_go(action.pid)
            assert unneeded or self.wanted.stopping is not None, "it is still needed"
            assert action.seconds <= GRACEFUL + ROUNDING
            self.told[action.pid] = action.seconds
            assert not self.at_once or action.seconds == 0
        elif isinstance(action, wanted.Kill):
            assert action.pid in self.wanted.workers, "only workers that are there are killed"
            assert action.pid not in self.killed, "it is killed once"
            self.killed.add(action.pid)
        elif isinstance(action, wanted.FailedToStart):
            assert action.retry <= max(wanted.BACK_OFF)

    def may_go(self, pid: int) -> bool:
        """Tell whether another serves in its slot, or its slot is not wanted and no reload is on its way."""
        slot = self.wanted.workers[pid].slot
        others = [one for one in self.wanted.workers.values() if one.slot == slot and one.pid > pid]
        return any(one.state is State.SERVING for one in others) or (
            slot >= self.wanted.generation.workers and not self.reloads
        )

    def serves(self, pid: int) -> None:
        self.opening.discard(pid)
        if pid not in self.killed:
            self.proved = max(self.proved, self.wanted.workers[pid].generation.number)
        self.wanted.ready(pid, self.now)

    def pids_in(self, state: State) -> list[int]:
        return [pid for pid, one in self.wanted.workers.items() if one.state is state]

    def pick(self, data: st.DataObject, state: State) -> int:
        return data.draw(st.sampled_from(self.pids_in(state)))

    @initialize(
        workers=st.integers(1, 3),
        serving=st.sampled_from([True, True, True, False]),
        drain_delay=st.sampled_from([0.0, 5.0]),
    )
    def the_container_starts(self, workers: int, serving: bool, drain_delay: float) -> None:
        self.drain_delay = drain_delay
        self.wanted = Wanted(configured(0, workers, drain_delay))
        self.react()
        for pid in self.pids_in(State.STARTING) if serving else []:
            self.serves(pid)
        self.react()

    # ---- what happens ------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.pids_in(State.STARTING))
    @rule(data=st.data())
    def a_worker_serves(self, data: st.DataObject) -> None:
        self.serves(self.pick(data, State.STARTING))
        self.react()

    @precondition(lambda self: self.pids_in(State.STARTING))
    @rule(data=st.data(), killed=st.booleans())
    def a_worker_dies_while_starting(self, data: st.DataObject, killed: bool) -> None:
        pid = self.pick(data, State.STARTING)
        before = sum(self.said[note] for note in (wanted.FailedToStart, wanted.ReloadFailed, wanted.CannotServe))
        self.wanted.ended(pid, *(("SIGKILL", None) if killed else ("status 1", StartError(["no"]))), self.now)
        self.react()
        after = sum(self.said[note] for note in (wanted.FailedToStart, wanted.ReloadFailed, wanted.CannotServe))
        assert after > before, "a start that fails is reported"

    @precondition(lambda self: self.pids_in(State.SERVING))
    @rule(data=st.data())
    def a_worker_dies_while_serving(self, data: st.DataObject) -> None:
        before = self.said[wanted.Died]
        self.wanted.ended(self.pick(data, State.SERVING), "SIGKILL", None, self.now)
        self.react()
        assert self.said[wanted.Died] == before + 1, "a death is reported once"

    @precondition(lambda self: self.pids_in(State.LEAVING))
    @rule(data=st.data())
    def a_worker_has_left(self, data: st.DataObject) -> None:
        self.wanted.ended(self.pick(data, State.LEAVING), "status 0", None, self.now)
        self.react()

    @precondition(lambda self: self.wanted.workers)
    @rule(data=st.data())
    def a_worker_asks_to_be_replaced(self, data: st.DataObject) -> None:
        pid = data.draw(st.sampled_from(sorted(self.wanted.workers)))
        self.recycled.add(pid)
        self.wanted.leaves(pid, "reached max_requests (5)")
        self.react()

    @precondition(lambda self: self.pids_in(State.LEAVING))
    @rule(data=st.data())
    def a_worker_has_begun_to_serve_before_it_heard_that_it_is_to_leave(self, data: st.DataObject) -> None:
        pid = self.pick(data, State.LEAVING)
        self.wanted.ready(pid, self.now)
        self.react()
        one = self.wanted.workers[pid]
        assert one.state is State.LEAVING, "it leaves all the same"
        assert pid in self.killed or one.served, "it may have requests"

    @precondition(lambda self: self.pids_in(State.LEAVING) + self.pids_in(State.STARTING))
    @rule(data=st.data())
    def a_worker_opens_for_connections(self, data: st.DataObject) -> None:
        pid = data.draw(st.sampled_from(self.pids_in(State.LEAVING) + self.pids_in(State.STARTING)))
        self.opening.add(pid)
        self.wanted.accepts(pid, self.now)
        self.react()

    @rule(pid=st.integers(0, 60))
    def a_message_comes_late(self, pid: int) -> None:
        """Of a worker that has ended."""
        if pid not in self.wanted.workers:
            self.wanted.ready(pid, self.now)
            self.wanted.ended(pid, "status 0", None, self.now)
        self.react()

    @rule(reads=st.lists(st.none() | st.integers(1, 4), min_size=1, max_size=2))
    def sighup(self, reads: list[int | None]) -> None:
        self.reads = reads
        self.asked_since_read = True
        self.wanted.ask_reload()
        self.react()

    @rule()
    def the_next_fork_fails(self) -> None:
        self.fork_fails = True

    @rule(seconds=st.sampled_from([0.1, 0.5, 3.0, 11.0, 40.0, 500.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.elapsed += seconds
        self.react()

    @rule(seconds=st.sampled_from([1.0, 100.0]))
    def the_clock_goes_back(self, seconds: float) -> None:
        self.now -= seconds
        self.react()

    @precondition(lambda self: self.pids > 8)  # a stop ends the history: first something is to happen
    @rule()
    def sigterm(self) -> None:
        self.wanted.stop("SIGTERM received", self.now)
        self.react()

    @precondition(lambda self: self.pids > 8)
    @rule()
    def sigquit(self) -> None:
        self.at_once = True
        self.wanted.stop("SIGQUIT received", self.now, at_once=True)
        self.react()
        limits = [
            one.limit.left(self.wanted._tick(self.now)) for one in self.wanted.workers.values() if one.limit is not None
        ]
        assert len(limits) == len(self.wanted.workers), "everybody has to leave"
        assert max(limits, default=0.0) <= wanted.AFTER_TIMEOUT + ROUNDING * 20, "nobody is waited for"

    @rule(by=st.sampled_from([1, -1]))
    def sigttin_or_sigttou(self, by: int) -> None:
        before = self.wanted.generation.workers
        self.wanted.resize(by, "SIGTTIN received")
        self.react()
        if self.wanted.stopping is None and not self.wanted.reloading:
            assert self.wanted.generation.workers == max(1, before + by)

    # ---- what must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def a_slot_has_one_worker_and_at_most_one_that_starts(self) -> None:
        staying = [one for one in self.wanted.workers.values() if one.state is not State.LEAVING]
        for state in (State.SERVING, State.STARTING):
            slots = Counter(one.slot for one in staying if one.state is state)
            assert not slots or max(slots.values()) == 1, f"two workers {state.value} in one slot"

    @invariant()
    def there_are_no_more_than_configured_and_those_replaced(self) -> None:
        if self.wanted.stopping is not None:
            return
        workers, configured = self.wanted.workers.values(), self.wanted.generation.workers
        serving = {one.slot for one in workers if one.state is State.SERVING}
        starting = [one for one in workers if one.state is State.STARTING]
        assert self.wanted.reloading or all(slot < configured for slot in serving), "more than configured"
        assert all(one.slot < configured for one in starting)
        assert all(self.wanted._wants(one.generation) for one in starting), "of a generation nobody wants"
        rolling = [one for one in starting if one.slot in serving and not self.current(one.slot).recycle]
        assert len(rolling) <= 1, "what serves is replaced one at a time"
        if self.wanted.fallback is not None:
            assert len(starting) <= 1, "a configuration that is not proved is tried by one worker"

    def current(self, slot: int) -> wanted.Worker:
        return next(one for one in self.wanted.workers.values() if one.slot == slot and one.state is State.SERVING)

    @invariant()
    def nothing_is_waited_for_that_cannot_come(self) -> None:
        serving = {self.wanted.workers[pid].slot for pid in self.pids_in(State.SERVING)}
        for one in self.wanted.workers.values():
            bounded = one.limit is not None
            first = not self.wanted.serving and one.slot not in serving
            assert bounded or first or one.state is State.SERVING, "a worker that nobody ends"
        if self.wanted.stopping is None and any(map(self.wanted._lacks, range(self.wanted.generation.workers))):
            starts = self.pids_in(State.STARTING)
            assert starts or self.wanted.wake_in(self.now) is not None, "a slot waits for nothing"
        if self.wanted.stopping is not None:
            limits = [one.limit for one in self.wanted.workers.values()]
            most = GRACEFUL + wanted.AFTER_TIMEOUT + ROUNDING
            assert all(limit is not None and limit.seconds <= most for limit in limits), "a stop that does not end"

    @invariant()
    def a_drain_ends_in_a_stop(self) -> None:
        if self.wanted.draining is not None and self.wanted.stopping is None:
            wake_in = self.wanted.wake_in(self.now)
            assert wake_in is not None, "the stop is never begun"
            assert wake_in <= self.drain_delay, "the stop is begun too late"

    @invariant()
    def a_worker_is_killed_when_its_limit_has_run_out(self) -> None:
        for pid, one in self.wanted.workers.items():
            if one.limit is not None and not one.killed:
                due = self.due.setdefault((pid, one.limit), self.elapsed + one.limit.seconds)
                assert self.elapsed <= due + ROUNDING, "the clock was set back, and its time was not"

    def teardown(self) -> None:
        """From now on all goes well: what was begun must come to its end."""
        self.fork_fails = False
        for _ in range(ENDLESS):
            self.react()
            if self.finished():
                break
            self.goes_well()
        else:
            raise AssertionError(f"it never ends: {vars(self.wanted)}")
        if self.wanted.stopping is not None:
            return
        serving = {one.slot: one for one in self.wanted.workers.values()}
        assert set(serving) == set(range(self.wanted.generation.workers)), "every slot is served"
        assert all(self.wanted._wants(one.generation) for one in serving.values()), "by the wanted generation"
        assert not self.asked_since_read, "a reload was swallowed"
        assert not self.reloads, "a reload has neither succeeded nor failed"
        assert not self.recycled & set(self.wanted.workers), "one that asked to be replaced was not"

    def goes_well(self) -> None:
        for pid, one in list(self.wanted.workers.items()):
            if pid in self.killed:
                self.wanted.ended(pid, "SIGKILL", None, self.now)
            elif one.state is State.STARTING:
                self.serves(pid)
            elif one.state is State.LEAVING:
                self.wanted.ended(pid, "status 0", None, self.now)
        self.react()
        self.now += max(0.001, min(self.wanted.wake_in(self.now) or 0.0, 60.0))  # poll waits for a millisecond or more

    def finished(self) -> bool:
        if self.wanted.stopping is not None or self.wanted.draining is not None:
            return self.wanted.over
        states = {one.state for one in self.wanted.workers.values()}
        return states == {State.SERVING} and self.wanted.wake_in(self.now) is None


def test_every_history_keeps_the_promises() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        World,
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
