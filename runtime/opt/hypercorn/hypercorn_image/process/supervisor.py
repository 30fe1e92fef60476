# SPDX-License-Identifier: MIT
"""The supervisor: tells `wanted` what happens, and does what it returns. It serves no request itself.

One loop, as in gunicorn's arbiter.py: signals and messages come in, `reconcile` answers, workers are forked and told to
leave. `wanted` decides which workers there should be, `words` has the text of the log lines.
"""

import gc
import signal
import time
from typing import Any, Callable, Dict, List, NamedTuple, Set

from hypercorn_image import logs
from hypercorn_image.config import options
from hypercorn_image.config.effective import Effective
from hypercorn_image.errors import StartError, report
from hypercorn_image.listen import draining
from hypercorn_image.listen.sockets import Listeners
from hypercorn_image.process import channel, heartbeat, wanted, words
from hypercorn_image.process.children import Child
from hypercorn_image.process.endings import Endings, ended_children, how_ended
from hypercorn_image.process.quic import SpareSockets
from hypercorn_image.process.signals import STOPS, Signals, name
from hypercorn_image.process.wanted import Action, Generation, State, Wanted

RESIZES: Dict[int, int] = {signal.SIGTTIN: 1, signal.SIGTTOU: -1}

BeWorker = Callable[[Child, Effective, Listeners], int]


class Configuration(NamedTuple):
    """What the workers of one generation serve."""

    effective: Effective
    listeners: Listeners

    def generation(self, number: int) -> Generation:
        """Return it as `wanted` needs it."""
        config, drain_delay = self.effective.config, options.value(self.effective.variables, "DRAIN_DELAY")
        return Generation(
            number, config.workers, float(config.graceful_timeout), float(config.startup_timeout), drain_delay
        )


class Supervisor:
    """Runs the workers of one container.

    `read` reads the configuration again, at SIGHUP, and raises StartError. `be_worker` serves in a process just
    forked, and returns its exit status. Three calls are for the health check: `on_serving` when all workers serve a
    configuration, `on_silent` with the numbers of workers that do not respond and of those there should be, and
    `on_draining` when the drain delay begins.
    """

    def __init__(
        self,
        first: Configuration,
        read: Callable[[], Effective],
        be_worker: BeWorker,
        on_serving: Callable[[Effective, Listeners], None],
        on_silent: Callable[[int, int], None],
        on_draining: Callable[[], None],
    ) -> None:
        self._read, self._be_worker = read, be_worker
        self._on_serving, self._on_silent, self._on_draining = on_serving, on_silent, on_draining
        self._newest = 0
        self._configurations = {self._newest: first}
        self._wanted = Wanted(first.generation(0))
        self._children: Dict[int, Child] = {}
        self._spare = SpareSockets()
        self._heartbeats = heartbeat.Heartbeats()
        self._endings = Endings()
        self._silent: Set[int] = set()
        self._said: Set[str] = set()
        self._signals = Signals()

    def run(self) -> int:
        """Supervise until stopped and return the exit status."""
        self._signals.install()
        gc.collect()
        gc.freeze()  # a collection would write to every page that the workers share
        while True:
            self._reconcile()
            if self._wanted.over:
                break
            self._signals.wait(self._descriptors(), self._wait())
            self._note_signals()
            for child in list(self._children.values()):
                self._hear(child)
            self._reap()
            self._note_silent()
        if self._wanted.status == 0:
            self._say(words.Line("info", words.STOPPED))
        return self._wanted.status

    @property
    def _current(self) -> Configuration:
        return self._configurations[self._wanted.generation.number]

    def _say(self, line: words.Line) -> None:
        if line.details:
            report(StartError([], line.details))
        logger = self._current.effective.config.log.error_logger
        if logger is not None:
            getattr(logger, line.level)(line.text, *line.values)

    def _say_once(self, text: str, reason: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._say(words.Line("warning", text, (reason,)))

    # ---- what happens ------------------------------------------------------------------------------------------------

    def _wait(self) -> float:
        wake_in = self._wanted.wake_in(time.monotonic())
        return heartbeat.INTERVAL if wake_in is None else min(wake_in, heartbeat.INTERVAL)

    def _descriptors(self) -> List[int]:
        return [child.receiver.descriptor for child in self._children.values() if not child.receiver.ended]

    def _note_signals(self) -> None:
        for number in self._signals.take():
            received = f"{name(number)} received"
            if number in STOPS:
                self._wanted.stop(received, time.monotonic())
            elif number == signal.SIGQUIT:
                self._wanted.stop(received, time.monotonic(), at_once=True)
            elif number == signal.SIGHUP:
                self._wanted.ask_reload()
            elif number in RESIZES:
                self._resize(RESIZES[number], number)
            elif number == signal.SIGUSR1:
                self._reopen_logs()
            elif number == signal.SIGUSR2:
                for line in words.status(self._wanted, self._silent, time.monotonic()):
                    self._say(line)
            elif number != signal.SIGCHLD:
                self._say(words.Line("warning", words.NOT_USED, (name(number),)))

    def _hear(self, child: Child) -> None:
        for message in child.receiver.receive():
            what = message["what"]
            if what == channel.READY:
                self._wanted.ready(child.pid, time.monotonic())
            elif what == channel.ACCEPTS:
                self._wanted.accepts(child.pid, time.monotonic())
            elif what == channel.QUIC_NOT_REFUSED:
                self._say_once(words.QUIC_NOT_REFUSED, message["reason"])
            elif what == channel.ALIVE:
                self._heartbeats.beat(child.pid)
            elif what == channel.FAILED:
                child.failure = StartError(message["lines"], message["details"])
            elif what == channel.EXIT_CALLED:
                child.exit_call = message["where"]
            elif what == channel.QUIC_CLOSED:
                self._retire_quic(child)
            elif what == channel.RECYCLE:
                limit = message.get("requests")
                reason = f"reached max_requests ({limit})" if limit is not None else "received SIGTERM"
                self._wanted.leaves(child.pid, reason)

    def _note_silent(self) -> None:
        serving = [pid for pid, worker in self._wanted.workers.items() if worker.state is State.SERVING]
        silent = self._heartbeats.silent(serving, time.monotonic())
        for pid in silent - self._silent:
            self._say(words.Line("warning", words.SILENT, (pid, self._heartbeats.limit)))
        for pid in self._silent.intersection(serving) - silent:
            self._say(words.Line("info", words.RESPONDS, (pid,)))
        self._silent = silent
        self._on_silent(len(silent), self._wanted.generation.workers)

    def _reap(self) -> None:
        for pid, status in ended_children():
            child = self._children.pop(pid, None)
            if child is None:
                continue  # an orphan of the application: it only has to be reaped
            self._hear(child)
            if self._wanted.leaves_a_gap(pid):
                self._spare.keep(child)
            self._retire_quic(child)
            child.close()
            worker = self._wanted.workers.get(pid)
            expected = worker is None or worker.state is State.LEAVING
            how = how_ended(status) if expected else self._endings.describe(status, child.exit_call)
            self._wanted.ended(pid, how, child.failure, time.monotonic())
        self._endings.settle()

    def _retire_quic(self, child: Child) -> None:
        self._current.listeners.quic.retire(child.quic)
        child.quic = []

    def _resize(self, by: int, number: int) -> None:
        if self._current.effective.config.quic_bind:  # its sockets are shared out among a fixed number of workers
            self._say(words.Line("warning", words.NOT_RESIZED, (name(number),)))
        else:
            self._wanted.resize(by, f"{name(number)} received")

    def _reopen_logs(self) -> None:
        for child in self._children.values():
            child.reopen_logs()
        failures = logs.reopen(self._current.effective.config)
        for path, why in failures:
            self._say(words.Line("error", words.LOG_NOT_REOPENED, (path, why)))
        if not failures:
            self._say(words.Line("info", words.LOGS_REOPENED))

    # ---- what is done ------------------------------------------------------------------------------------------------

    def _reconcile(self) -> None:
        while True:
            actions = self._wanted.reconcile(time.monotonic())
            for action in actions:
                self._do(action)
            if not actions:
                break
        self._forget_configurations()

    def _do(self, action: Action) -> None:
        if isinstance(action, wanted.Fork):
            self._fork(action)
        elif isinstance(action, wanted.Leave):
            self._children[action.pid].leave(action.seconds, action.last, action.starting)
        elif isinstance(action, wanted.Kill):
            self._children[action.pid].kill()
        elif isinstance(action, wanted.CloseListeners):
            self._close_listeners(min(draining.HALF_OPEN, action.seconds))
        elif isinstance(action, wanted.ReadConfiguration):
            self._reload()
        elif isinstance(action, wanted.Draining):
            self._drain(action)
        elif isinstance(action, wanted.CannotServe):
            report(action.failure)
        elif isinstance(action, (wanted.Serving, wanted.ReloadComplete)):
            self._serves(action)
        else:
            line = words.line(action)
            if line is not None:
                self._say(line)

    def _drain(self, note: wanted.Draining) -> None:
        for child in self._children.values():
            child.not_ready()
        self._on_draining()
        self._say(words.Line("info", words.DRAINING, note))

    def _fork(self, fork: wanted.Fork) -> None:
        configuration = self._configurations[fork.generation.number]
        quic: List[Any] = []
        try:
            quic = self._spare.take(fork, configuration.listeners)
            child = Child.fork(fork.slot, fork.generation.number, quic, lambda child: self._be(child, configuration))
        except (OSError, StartError) as error:  # no process, no descriptor, no UDP socket
            configuration.listeners.quic.retire(quic)
            failure = (
                error if isinstance(error, StartError) else StartError([f"cannot fork: {error.strerror or error}"])
            )
            self._wanted.fork_failed(fork, failure, time.monotonic())
            return
        self._children[child.pid] = child
        self._wanted.forked(fork, child.pid, time.monotonic())
        if self._wanted.draining is not None:
            child.not_ready()

    def _be(self, child: Child, configuration: Configuration) -> int:
        """Serve in a child just forked, after closing what belongs to the parent and to other workers."""
        self._signals.forget()
        configuration.listeners.quic.close(but=child.quic)
        for sibling in self._children.values():
            sibling.close()
        for other in self._configurations.values():
            if other.listeners is not configuration.listeners:
                other.listeners.close(but=configuration.listeners.shared.values())
        return self._be_worker(child, configuration.effective, configuration.listeners)

    def _serves(self, action: Action) -> None:
        effective, listeners = self._current
        self._on_serving(effective, listeners)
        not_steered = listeners.quic.not_steered()
        if not_steered and effective.config.workers > 1:
            self._say(words.Line("warning", words.NOT_STEERED, (not_steered,)))
        places = listeners.quic.places(listeners.quic_binds) if listeners.quic_binds else effective.config.workers
        if effective.config.workers > places:
            self._say(words.Line("warning", words.NO_PLACE, (places, effective.config.workers - places)))
        where, config = listeners.describe(), effective.config
        if isinstance(action, wanted.ReloadComplete):
            self._say(words.Line("info", words.RELOAD_COMPLETE, (where,)))
            return
        workers = self._wanted.generation.workers
        plural = "" if workers == 1 else "s"
        values = (effective.application, where, workers, config.worker_class, plural)
        self._say(words.Line("info", words.SERVING, values))

    def _reload(self) -> None:
        try:
            effective = self._read()
            listeners = Listeners(effective.config)
            listeners.open(self._current.listeners.shared)
        except StartError as failure:
            self._say(words.reload_failed(failure))
            return
        listeners.share_quic(self._current.listeners)
        self._newest += 1
        configuration = self._configurations[self._newest] = Configuration(effective, listeners)
        self._wanted.reload(configuration.generation(self._newest))

    def _forget_configurations(self) -> None:
        """Close the sockets of generations that have no worker any more and get none."""
        kept = {number: self._configurations[number] for number in self._wanted.generations()}
        sockets = [sock for configuration in kept.values() for sock in configuration.listeners.shared.values()]
        for number, configuration in self._configurations.items():
            if number not in kept:
                configuration.listeners.close(but=sockets)
        self._configurations = kept
        self._current.listeners.quic.retire(self._spare.forget(kept))

    def _close_listeners(self, seconds: float) -> None:
        """Refuse new connections, and close when half-open ones have arrived. The workers still accept these."""
        every = [configuration.listeners for configuration in self._configurations.values()]
        for listeners in every:
            refusal = listeners.refuse_new()
            if refusal:
                self._say_once(words.NOT_REFUSED, refusal)
        limit = time.monotonic() + seconds
        while any(listeners.half_open() for listeners in every) and time.monotonic() < limit:
            time.sleep(0.01)
        for listeners in every:
            listeners.close()
