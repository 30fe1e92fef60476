"""What `reconcile` of `process/wanted.py` returns in situations that are written down, at times that are."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypercorn_image.errors import StartError
from hypercorn_image.process import wanted
from hypercorn_image.process.wanted import BACK_OFF, LIVED, Fork, Wanted

from tests.runtime.process.test_wanted import GRACEFUL, STARTUP, configured

FAILURE = StartError(["no"], status=3)


def react(one: Wanted, now: float, pids: list[int]) -> list[Any]:
    """Return all that is to be done at `now`. What is forked gets the next of `pids`; with none left a fork fails."""
    done: list[Any] = []
    for _ in range(100):
        actions = one.reconcile(now)
        for action in actions:
            if isinstance(action, Fork) and pids:
                one.forked(action, pids.pop(0), now)
            elif isinstance(action, Fork):
                one.fork_failed(action, FAILURE, now)
        done += actions
        if not actions:
            return done
    raise AssertionError("reconcile never comes to an end")


def starting(workers: int = 1, drain_delay: float = 0.0) -> Wanted:
    """Return a server whose workers, with the pids 1, 2, …, start at 0 s."""
    one = Wanted(configured(0, workers, drain_delay))
    react(one, 0.0, list(range(1, workers + 1)))
    return one


def serving(workers: int = 1, drain_delay: float = 0.0) -> Wanted:
    """Return the same. The workers serve from 1 s on."""
    one = starting(workers, drain_delay)
    for pid in range(1, workers + 1):
        one.ready(pid, 1.0)
    assert react(one, 1.0, []) == [wanted.Serving()]
    return one


def kinds(actions: list[Any]) -> list[type]:
    return [type(action) for action in actions]


def told(actions: list[Any]) -> list[wanted.Leave]:
    return [action for action in actions if isinstance(action, wanted.Leave)]


# ---- replacing workers -----------------------------------------------------------------------------------------------


def test_a_worker_that_asks_to_be_replaced_is_heard_once() -> None:
    one = serving()
    one.leaves(1, "received SIGTERM")
    one.leaves(1, "received SIGTERM")
    assert kinds(react(one, 2.0, [2])) == [wanted.Restarting, Fork]
    assert one.age(one.workers[2], 3.0) == 1.0
    one.ready(2, 3.0)
    assert react(one, 3.0, []) == [wanted.Replaced(2, 1), wanted.Leave(1, GRACEFUL, last=False, starting=False)]
    one.ended(1, "status 0", None, 4.0)
    assert react(one, 4.0, []) == [wanted.Left(1, "status 0")]


def test_a_worker_that_asks_to_be_replaced_does_not_wait_for_a_reload_to_end() -> None:
    one = serving(workers=3)
    one.reload(configured(1, 3))
    react(one, 2.0, [4])
    one.ready(4, 3.0)
    assert kinds(react(one, 3.0, [5])) == [wanted.Replaced, wanted.Leave, Fork]
    one.leaves(3, "reached max_requests (5)")
    _, fork = react(one, 3.0, [6])
    assert isinstance(fork, Fork)
    assert fork.slot == 2


def test_a_replacement_that_starts_takes_the_place_of_a_worker_that_dies() -> None:
    one = serving()
    one.leaves(1, "received SIGTERM")
    react(one, 2.0, [2])
    one.ended(1, "SIGKILL", None, 3.0)
    assert react(one, 3.0, []) == [wanted.Died(1, "SIGKILL", None)]


@pytest.mark.parametrize(("took", "more"), [((2.0,), wanted.AT_LEAST), ((100.0,), 500.0), ((100.0, 2.0), 500.0)])
def test_a_replacement_may_take_some_times_as_long_as_the_slowest_start(took: tuple[float, ...], more: float) -> None:
    one, now = starting(), 0.0
    for pid, seconds in enumerate(took, 1):
        now += seconds
        one.ready(pid, now)
        one.leaves(pid, "received SIGTERM")
        react(one, now, [pid + 1])
    react(one, now + wanted.SAID_AFTER, [])
    assert one.wake_in(now + wanted.SAID_AFTER) == STARTUP + more - wanted.SAID_AFTER


# ---- workers that die, or do not start -------------------------------------------------------------------------------


def test_a_worker_that_dies_again_and_again_is_started_later_each_time() -> None:
    one, now = serving(), 1.0
    for pid, delay in enumerate((*BACK_OFF, BACK_OFF[-1]), 1):
        one.ended(pid, "SIGKILL", None, now)
        died, *further = react(one, now, [pid + 1])
        assert died == wanted.Died(pid, "SIGKILL", delay)
        if delay:
            assert further == [], "it is started before its time"
            assert one.wake_in(now) == pytest.approx(delay)
            now += delay + 0.001
            further = react(one, now, [pid + 1])
        assert kinds(further) == [Fork]
        one.ready(pid + 1, now)
        assert react(one, now, []) == [wanted.Started(pid + 1)]


def test_the_death_of_a_worker_that_has_lived_for_long_is_the_first_of_a_new_row() -> None:
    one, now = serving(), 2.0
    for pid, delay, lives in ((1, 0.0, LIVED), (2, 0.5, LIVED + 0.1), (3, 0.0, LIVED)):
        one.ended(pid, "SIGKILL", None, now)
        assert react(one, now, [pid + 1])[0] == wanted.Died(pid, "SIGKILL", delay)
        react(one, now + delay, [pid + 1])
        one.ready(pid + 1, now + delay)
        react(one, now + delay, [])
        now += delay + lives


@pytest.mark.parametrize("dies", [True, False])
def test_a_fork_that_fails_is_tried_again_later_whoever_else_serves(dies: bool) -> None:
    one = serving()
    if dies:
        one.ended(1, "SIGKILL", None, 2.0)
    else:
        one.leaves(1, "received SIGTERM")
    assert react(one, 2.0, [])[1:] == [Fork(0, one.generation), wanted.FailedToStart(FAILURE, 0.5)]
    assert one.wake_in(2.0) == 0.5


def test_a_start_that_fails_ends_the_server_when_no_other_worker_serves() -> None:
    one = serving()
    one.ended(1, "SIGKILL", None, 2.0)
    react(one, 2.0, [2])
    one.ended(2, "status 3", FAILURE, 3.0)
    assert react(one, 3.0, [])[:2] == [wanted.CannotServe(FAILURE), wanted.Stopping("A worker failed to start")]
    assert (one.over, one.status) == (True, FAILURE.status)


def test_a_replacement_that_is_killed_is_started_again_though_no_other_worker_serves() -> None:
    one = serving()
    one.ended(1, "SIGKILL", None, 2.0)
    react(one, 2.0, [2])
    one.ended(2, "SIGKILL", None, 3.0)
    (failed,) = react(one, 3.0, [])
    assert isinstance(failed, wanted.FailedToStart)
    assert react(one, 3.0 + failed.retry, [3]) == [Fork(0, one.generation)]


def test_a_first_start_that_fails_ends_the_server_though_others_serve() -> None:
    one = starting(workers=2)
    one.ready(1, 1.0)
    assert react(one, 1.0, []) == []
    one.ended(2, "status 3", FAILURE, 1.0)
    assert kinds(react(one, 1.0, [])) == [
        wanted.CannotServe, wanted.Stopping, wanted.CloseListeners, wanted.Leave,
    ]  # fmt: skip


def test_a_replacement_in_a_first_start_has_a_limit() -> None:
    one = starting(workers=2)
    one.ready(1, 1.0)
    one.leaves(1, "received SIGTERM")
    react(one, 1.0, [3])
    limit = STARTUP + wanted.AT_LEAST
    assert [action for action in react(one, 1.0 + limit, []) if isinstance(action, wanted.Kill)] == [wanted.Kill(3)]


# ---- reloads ---------------------------------------------------------------------------------------------------------


def test_a_reload_that_is_asked_for_while_the_server_starts_follows() -> None:
    one = starting()
    one.ask_reload()
    assert react(one, 0.5, []) == []
    one.ready(1, 1.0)
    assert react(one, 1.0, []) == [wanted.Serving(), wanted.ReadConfiguration()]


def died_as_a_reload_was_asked_for() -> tuple[Wanted, Fork]:
    """Return a server that has read its configuration again, and the fork of before that comes after it."""
    one = serving()
    one.ask_reload()
    one.ended(1, "SIGKILL", None, 2.0)
    died, read, fork = one.reconcile(2.0)
    assert kinds([died, read]) == [wanted.Died, wanted.ReadConfiguration]
    assert isinstance(fork, Fork)
    one.reload(configured(1, 1))
    return one, fork


def test_a_fork_for_the_old_configuration_that_fails_does_not_end_the_reload() -> None:
    one, fork = died_as_a_reload_was_asked_for()
    one.fork_failed(fork, FAILURE, 2.0)
    assert react(one, 2.0, [2]) == [wanted.ReloadStarted(1), Fork(0, configured(1, 1))]


def test_a_worker_of_the_old_configuration_that_starts_after_the_reload_is_ended() -> None:
    one, fork = died_as_a_reload_was_asked_for()
    one.forked(fork, 2, 2.0)
    assert kinds(react(one, 2.0, [3])) == [wanted.ReloadStarted, wanted.Leave, Fork]


def test_a_configuration_is_kept_while_a_worker_serves_it_or_may_be_started_of_it() -> None:
    one = serving(workers=2)
    one.reload(configured(1, 2))
    react(one, 2.0, [3])
    assert one.generations() == {0, 1}, "it may fail"
    one.ready(3, 3.0)
    react(one, 3.0, [4])
    assert one.generations() == {0, 1}, "a worker serves the old one"
    one.ready(4, 4.0)
    react(one, 4.0, [])
    assert one.generations() == {1}


def test_a_configuration_is_kept_without_a_worker_while_the_new_one_is_not_proved() -> None:
    one = serving()
    one.reload(configured(1, 1))
    react(one, 2.0, [2])
    one.ended(1, "SIGKILL", None, 3.0)
    react(one, 3.0, [])
    assert one.generations() == {0, 1}


def test_a_worker_leaves_a_gap_only_when_its_slot_has_no_other() -> None:
    one = serving(workers=2)
    assert one.leaves_a_gap(1)
    assert not one.leaves_a_gap(7), "nobody knows it"
    one.leaves(1, "received SIGTERM")
    react(one, 2.0, [3])
    assert not one.leaves_a_gap(1), "its replacement starts"
    one.ready(3, 3.0)
    react(one, 3.0, [])
    assert not one.leaves_a_gap(1), "it was told to leave"
    one.stop("SIGTERM received", 4.0)
    assert not one.leaves_a_gap(2), "nobody is started any more"


def test_a_slot_that_waits_for_a_reload_wakes_nobody() -> None:
    one = serving(workers=2)
    one.reload(configured(1, 2))
    react(one, 2.0, [3])
    one.ended(2, "SIGKILL", None, 2.0)
    assert kinds(react(one, 2.0, [])) == [wanted.Died]
    assert one.wake_in(2.0) == wanted.SAID_AFTER


# ---- stops -----------------------------------------------------------------------------------------------------------


def test_a_worker_that_fails_to_start_while_the_server_stops_is_no_failure() -> None:
    one = starting()
    one.stop("SIGTERM received", 0.5)
    one.ended(1, "status 3", FAILURE, 0.5)
    assert kinds(react(one, 0.5, [])) == [wanted.Stopping, wanted.CloseListeners]
    assert (one.over, one.status) == (True, 0)


def test_each_worker_is_told_once_that_the_server_stops_at_whatever_time() -> None:
    times = random.Random(0)
    rounded_up = [2.0**20 - GRACEFUL - 0.5 + place * 2.0**-33 for place in range(4)]
    for now in [*rounded_up, *(times.uniform(2.0, 1e6) for _ in range(200))]:
        one = serving()
        one.stop("SIGTERM received", now)
        actions = react(one, now, [])
        for _ in range(5):
            now += times.uniform(0.0, 3.0)
            actions += react(one, now, [])
        assert len(told(actions)) == 1


def test_workers_get_what_is_left_after_the_listeners_were_closed() -> None:
    one = serving()
    one.stop("SIGTERM received", 10.0)
    assert one.reconcile(10.0) == [wanted.Stopping("SIGTERM received"), wanted.CloseListeners(GRACEFUL)]
    assert one.reconcile(13.0) == [wanted.Leave(1, GRACEFUL - 3.0, last=True, starting=False)]
    assert one.reconcile(13.0) == []


def test_a_killed_worker_is_not_waited_for_with_a_timer() -> None:
    one = serving()
    one.stop("SIGTERM received", 10.0)
    react(one, 10.0, [])
    end = 10.0 + GRACEFUL + wanted.AFTER_TIMEOUT
    assert one.wake_in(10.0) == GRACEFUL + wanted.AFTER_TIMEOUT
    assert react(one, end, []) == [wanted.Overdue(1, GRACEFUL), wanted.Kill(1)]
    assert one.wake_in(end) is None


def test_sigquit_stops_at_once_and_only_the_first_counts() -> None:
    one = serving(drain_delay=5.0)
    one.stop("SIGQUIT received", 10.0, at_once=True)
    assert told(react(one, 10.0, [])) == [wanted.Leave(1, 0.0, last=True, starting=False)]
    one.stop("SIGQUIT received", 10.5, at_once=True)
    one.stop("SIGTERM received", 10.5)
    assert react(one, 10.5, []) == []
    assert react(one, 10.0 + wanted.AFTER_TIMEOUT, []) == [wanted.Kill(1)]


def test_no_worker_is_added_or_replaced_while_the_server_stops() -> None:
    one = serving()
    one.stop("SIGTERM received", 10.0)
    react(one, 10.0, [])
    one.resize(1, "SIGTTIN received")
    one.leaves(1, "reached max_requests (5)")
    assert react(one, 10.0, []) == []


def test_the_drain_delay_wakes_nobody_after_it_is_over() -> None:
    one = serving(drain_delay=5.0)
    one.stop("SIGTERM received", 10.0)
    react(one, 10.0, [])
    react(one, 15.0, [])
    assert one.wake_in(15.0) == GRACEFUL + wanted.AFTER_TIMEOUT


# ---- limits and delays -----------------------------------------------------------------------------------------------


def test_a_stop_ends_though_nobody_leaves() -> None:
    one = Wanted(configured(0, 3))
    now, pids = 0.0, 0
    for _ in range(3):
        for action in one.reconcile(now):
            if isinstance(action, wanted.Fork):
                pids += 1
                one.forked(action, pids, now)
    for pid in list(one.workers):
        one.ready(pid, now)
    one.reconcile(now)
    one.stop("SIGTERM received", now)
    killed: list[int] = []
    while not one.over:
        for action in one.reconcile(now):
            if isinstance(action, wanted.Kill):
                killed.append(action.pid)
                one.ended(action.pid, "SIGKILL", None, now)
        now += one.wake_in(now) or 0.0
        assert now <= GRACEFUL + wanted.AFTER_TIMEOUT
    assert sorted(killed) == [1, 2, 3]


def test_a_replacement_that_hangs_is_given_up_and_said() -> None:
    one = starting()
    one.ready(1, 2.0)
    one.reconcile(2.0)
    one.reload(configured(1, 1))
    fork = next(action for action in one.reconcile(2.0) if isinstance(action, wanted.Fork))
    one.forked(fork, 2, 2.0)
    limit = STARTUP + wanted.AT_LEAST
    assert one.wake_in(2.0) == wanted.SAID_AFTER
    assert one.reconcile(2.0 + wanted.SAID_AFTER) == [wanted.StillStarting(2, wanted.SAID_AFTER)]
    assert one.wake_in(2.0 + wanted.SAID_AFTER) == limit - wanted.SAID_AFTER
    assert one.reconcile(2.0 + limit) == [wanted.Kill(2)]
    one.ended(2, "SIGKILL", None, 2.0 + limit)
    (note,) = one.reconcile(2.0 + limit)
    assert isinstance(note, wanted.ReloadFailed)
    assert note.failure.lines == [f"it did not start within {limit:g} s"]


def test_a_worker_that_served_before_it_heard_that_it_is_to_leave_has_the_time_for_its_requests() -> None:
    one = starting()
    one.stop("SIGTERM received", 1.0)
    assert [type(action) for action in one.reconcile(1.0) + one.reconcile(1.0)][-1] is wanted.Leave
    assert one.wake_in(1.0) == wanted.WHILE_STARTING
    one.ready(1, 1.2)  # sent before it was told
    limit = one.wake_in(1.2)
    assert limit is not None
    assert limit >= GRACEFUL - 0.2
    assert one.reconcile(1.2 + wanted.WHILE_STARTING) == []
    assert one.reconcile(1.2 + limit) == [wanted.Overdue(1, GRACEFUL), wanted.Kill(1)]


def test_a_worker_that_is_to_leave_while_it_opens_has_the_time_for_its_requests() -> None:
    for told_at, accepts_at in ((1.0, 0.9), (1.0, 1.2)):
        one = starting()
        if accepts_at < told_at:
            one.accepts(1, accepts_at)
        one.stop("SIGTERM received", told_at)
        one.reconcile(told_at)
        (leave,) = one.reconcile(told_at)
        assert leave == wanted.Leave(1, GRACEFUL, True, starting=accepts_at > told_at)
        if accepts_at > told_at:
            one.accepts(1, accepts_at)
        assert one.reconcile(accepts_at + 2 * wanted.WHILE_STARTING) == []


def test_a_first_start_that_hangs_is_said_once_and_a_stop_ends_it() -> None:
    one = starting()
    assert one.reconcile(29.0) == []
    assert one.reconcile(30.0) == [wanted.StillStarting(1, 30.0)]
    assert one.wake_in(30.0) is None, "a first start takes as long as it takes"
    assert one.reconcile(9000.0) == []
    one.stop("SIGTERM received", 9000.0)
    one.reconcile(9000.0)
    assert one.reconcile(9000.0) == [wanted.Leave(1, GRACEFUL, True, starting=True)]
    assert one.reconcile(9000.0 + wanted.WHILE_STARTING) == [wanted.Kill(1)]


def test_a_start_in_time_is_not_said_to_be_slow() -> None:
    one = serving()
    assert one.reconcile(100.0) == []
    assert one.wake_in(100.0) is None


def test_a_stop_begins_after_the_drain_delay() -> None:
    one = serving(drain_delay=5.0)
    one.stop("SIGTERM received", 10.0)
    assert one.reconcile(10.0) == [wanted.Draining("SIGTERM received", 5.0)]
    assert one.wake_in(11.0) == 4.0
    assert one.reconcile(14.9) == []
    stopping, close = one.reconcile(15.0)
    assert stopping == wanted.Stopping("DRAIN_DELAY is over")
    assert close == wanted.CloseListeners(GRACEFUL), "the graceful timeout comes on top"


def test_a_second_stop_ends_the_drain_delay() -> None:
    one = serving(drain_delay=5.0)
    one.stop("SIGTERM received", 10.0)
    one.reconcile(10.0)
    one.stop("SIGINT received", 11.0)
    assert one.reconcile(11.0)[0] == wanted.Stopping("SIGINT received")


def test_a_worker_that_dies_while_the_server_drains_is_replaced() -> None:
    one = serving(drain_delay=5.0)
    one.stop("SIGTERM received", 10.0)
    one.reconcile(10.0)
    one.ended(1, "SIGKILL", None, 11.0)
    assert [type(action) for action in one.reconcile(11.0)] == [wanted.Died, wanted.Fork]


def test_a_server_that_has_not_served_yet_does_not_drain() -> None:
    one = Wanted(configured(0, 1, drain_delay=5.0))
    one.stop("SIGTERM received", 1.0)
    assert one.reconcile(1.0)[0] == wanted.Stopping("SIGTERM received")
