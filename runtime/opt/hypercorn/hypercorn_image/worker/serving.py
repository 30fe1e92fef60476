# SPDX-License-Identifier: MIT
"""A worker's life on any event loop: lifespan, serving, and a stop in the right order.

A stop refuses new connections, answers what was sent, closes idle connections, and then shuts the lifespan down. What
differs between asyncio and trio is in `on_asyncio` and `on_trio`.
"""

import signal
import time
from typing import Any, Awaitable, Callable, List, Optional

from hypercorn_image import logs, upstream
from hypercorn_image.app.lifespan import Lifespan
from hypercorn_image.config import options
from hypercorn_image.listen import draining
from hypercorn_image.process import channel, heartbeat, words
from hypercorn_image.process.signals import STOPS
from hypercorn_image.worker.gate import Gate
from hypercorn_image.worker.worker import Worker

# Seconds between the announcement of a stop and the close of idle connections. Requests that are on their way are still
# answered, with `connection: close`.
SETTLE = 0.5
LINGER = 0.5  # seconds that a client may take to confirm the end of a connection
HEARD = 3.0  # seconds that a QUIC client gets to hear that its connection is about to end, on a busy machine too
HANDSHAKE = 1.0  # seconds that a TLS or QUIC handshake may take that has begun when the worker leaves


class Serving:
    """One worker's life. `event` and `sleep` are the event loop's."""

    def __init__(self, worker: Worker, event: Callable[[], Any], sleep: Callable[[float], Awaitable[None]]) -> None:
        self.worker, self.clock = worker, worker.clock
        self.sleep = sleep
        self.stopping = event()
        self.last = worker.parent is None  # whether no other worker goes on accepting
        self.settled_at: Optional[float] = None
        self.done_since: Optional[float] = None
        self.lifespan = Lifespan(worker.asgi, event)
        self.gate: Any = Gate(worker.asgi, self.lifespan.state, self.spawn, self.cut)
        self.gate.limit = worker.max_requests
        self.gate.on_limit = lambda: worker.say(channel.RECYCLE, requests=self.gate.total)
        self.farewell = _farewell()
        self.quic_protocols: List[Any] = []
        if worker.udp and upstream.holds("hypercorn-quic-timer"):
            upstream.let_quic_timers_finish()
        if worker.udp and upstream.holds("hypercorn-quic-connections"):
            upstream.note_quic(self.quic_protocols)
            _install_h3()
        self._quic: Optional[List[Any]] = None
        self._quic_said = False
        self._served = self._draining = False

    # ---- what differs between event loops ----------------------------------------------------------------------------

    async def stop_accepting(self) -> None:
        """Close the listening sockets, and lose no connection that was accepted."""
        raise NotImplementedError

    def has_connections(self) -> bool:
        """Tell whether anybody is connected, or may be."""
        raise NotImplementedError

    def is_sending(self) -> bool:
        """Tell whether something waits to be sent."""
        raise NotImplementedError

    def spawn(self, function: Callable[[], Any]) -> None:
        """Run a coroutine function in the background."""
        raise NotImplementedError

    async def cut(self, server: Any) -> None:
        """Close a connection at once; `server` is Hypercorn's object that serves it."""
        raise NotImplementedError

    async def finish_handshakes(self) -> None:
        """Wait for the TLS handshakes of accepted connections."""

    def close_udp(self) -> None:
        """Close the UDP sockets after their last connection has gone."""

    # ---- messages and signals ----------------------------------------------------------------------------------------

    def stop(self, seconds: Optional[float] = None) -> None:
        """Stop. Requests in progress get `seconds`, by default the graceful timeout."""
        self.clock.begin(seconds)
        self.stopping.set()

    def hear(self) -> bool:
        """Act on the messages of the parent; return whether it has ended."""
        parent = self.worker.parent
        assert parent is not None
        for message in parent.messages():
            if message["what"] == channel.STOP:
                self.last = message["last"]
                self.stop(message["seconds"])
            elif message["what"] == channel.NOT_READY:
                self._not_ready()
            elif message["what"] == channel.REOPEN_LOGS:
                self._reopen_logs()
        if parent.ended:
            self.last = True
            self.stop()
        return parent.ended

    def opens(self) -> bool:
        """Tell the parent that connections may be accepted from now on; return whether they should be."""
        if self.worker.parent is not None:
            self.hear()
        if self.stopping.is_set():
            return False
        self.worker.say(channel.ACCEPTS)
        return True

    def hear_signal(self, number: int) -> None:
        """Act on a signal, if there is no parent."""
        if number == signal.SIGQUIT:
            self.stop(0.0)
        elif number in STOPS:
            self._drain_or_stop(f"{signal.Signals(number).name} received")
        elif number == signal.SIGUSR1:
            if self._reopen_logs():
                self.worker.log("info", words.LOGS_REOPENED)
        elif number == signal.SIGUSR2:
            self.worker.log("info", "SIGUSR2 received; requests in progress: %d", self.gate.in_progress)
        else:
            self.worker.log("warning", words.NO_PROCESSES, signal.Signals(number).name)

    def _drain_or_stop(self, reason: str) -> None:
        """Stop after the drain delay, or at once if it has begun already or nothing is served yet."""
        delay = options.value(self.worker.variables, "DRAIN_DELAY")
        if not delay or self._draining or not self._served:
            self.stop()
            return
        self._draining = True
        self._not_ready()
        self.worker.on_draining()
        self.worker.log("info", words.DRAINING, reason, delay)

        async def stop_later() -> None:
            await self.sleep(delay)
            self.stop()

        self.spawn(stop_later)

    def _not_ready(self) -> None:
        path = self.worker.variables.get("HEALTHCHECK_PATH")
        if path:
            self.gate.not_ready(path)

    def _reopen_logs(self) -> bool:
        failures = logs.reopen(self.worker.config)
        for path, why in failures:
            self.worker.log("error", words.LOG_NOT_REOPENED, path, why)
        return not failures

    # ---- the order of a stop -----------------------------------------------------------------------------------------

    async def trigger(self) -> None:
        """Hypercorn runs this when it serves, and stops when it returns."""
        self._served = True
        self.worker.say(channel.READY)
        self.worker.on_started()
        self.spawn(self._beat)
        await self.stopping.wait()
        await self._drain()
        await self.stop_accepting()
        self.gate.leave()
        await self.farewell.leave()
        for connections in self.quic():
            await connections.announce()
        await self.finish_handshakes()
        if self.has_connections():
            await self.sleep(min(SETTLE, self.clock.left()))
        await self._welcome()
        await self._let_quic_hear()
        for connections in self.quic():
            await connections.say_last()
        self.settled_at = time.monotonic()

    async def _beat(self) -> None:
        while self.worker.parent is not None and not self.stopping.is_set():
            self.worker.parent.beat()
            await self.sleep(heartbeat.INTERVAL)

    async def _drain(self) -> None:
        """Refuse new connections, and accept until none waits. The caller closes in the next instruction.

        If only this worker leaves, the others accept what waits.
        """
        self._say_quic_refusal(draining.refuse_new_quic(self.worker.udp))
        if self.worker.parent is None:
            await self._close_listeners()
        if self.last:
            await draining.emptied(self.worker.listening, min(draining.LIMIT, self.clock.left()), self.sleep)

    async def _close_listeners(self) -> None:
        listeners = self.worker.listeners
        refusal = listeners.refuse_new()
        if refusal:
            self.worker.log("warning", words.NOT_REFUSED, refusal)
        await draining.arrived(listeners.half_open, min(draining.HALF_OPEN, self.clock.left()), self.sleep)
        listeners.close()

    def _say_quic_refusal(self, refusal: str) -> None:
        if refusal and self.worker.parent is not None:
            self.worker.say(channel.QUIC_NOT_REFUSED, reason=refusal)
        elif refusal:
            self.worker.log("warning", words.QUIC_NOT_REFUSED, refusal)

    async def _welcome(self) -> None:
        """Give new QUIC connections time to send their first request."""
        limit = time.monotonic() + min(HANDSHAKE, self.clock.left())
        while any(connections.awaits_request for connections in self.quic()) and time.monotonic() < limit:
            await self.sleep(0.01)

    async def _let_quic_hear(self) -> None:
        """Give QUIC clients time to hear that the end is near: what they send after the next step is rejected."""
        limit = time.monotonic() + min(HEARD, self.clock.left())
        while not all(connections.is_warned for connections in self.quic()) and time.monotonic() < limit:
            await self.sleep(0.01)

    async def is_over(self) -> bool:
        """Close what can be closed; return whether there is nothing left to wait for."""
        if self.settled_at is None:
            return False
        if self.clock.left() == 0:
            return True
        self.gate.cut_silent()
        quic_closed = await self._close_quic()
        if self.gate.in_progress or self.is_sending() or not quic_closed or not self.farewell.is_said:
            self.done_since = None
            return False
        if self.done_since is None:
            self.done_since = time.monotonic()
        # What is left are clients that do not answer a TLS close_notify or a QUIC close.
        return time.monotonic() > self.done_since + LINGER

    async def _close_quic(self) -> bool:
        closed = [await connections.close_finished() for connections in self.quic()]
        if all(connections.gone for connections in self.quic()):
            self.close_udp()
            self._say_quic_closed()
        return all(closed)

    def _say_quic_closed(self) -> None:
        """Tell the parent, once, that this worker does not read its UDP sockets any more."""
        if self.worker.udp and not self._quic_said:
            self._quic_said = True
            self.worker.say(channel.QUIC_CLOSED)

    def quic(self) -> List[Any]:
        """Return the HTTP/3 connections of each UDP socket. Hypercorn serves already."""
        if self._quic is None:
            from hypercorn_image.worker.quic import Quic

            self._quic = [Quic(protocol) for protocol in self.quic_protocols]
        return self._quic

    # ---- the lifespan ------------------------------------------------------------------------------------------------

    def check_lifespan(self) -> None:
        """Raise StartError if the application's lifespan has failed to start, or was too slow."""
        if self.stopping.is_set():
            return
        self.lifespan.check_start(self.worker.config.startup_timeout)
        if self.lifespan.reason:
            self.worker.log("info", "The application does not support the lifespan protocol (%s)", self.lifespan.reason)

    def check_shutdown(self) -> None:
        """Log a lifespan that failed to shut down, or was too slow."""
        if self.lifespan.shutdown_failure:
            self.worker.log(
                "error", "The application's lifespan failed to shut down: %s", self.lifespan.shutdown_failure
            )
        elif not self.lifespan.finished.is_set():
            self.worker.log("error", "The application's lifespan did not shut down in time")


def _install_h3() -> None:
    if upstream.holds("hypercorn-h3-connection"):
        from hypercorn_image.worker import h3

        h3.install()


class _NoFarewell:
    is_said = True

    async def leave(self) -> None:
        return


def _farewell() -> Any:
    """Return what says good-bye on HTTP/2 connections."""
    if not upstream.holds("hypercorn-h2-connection"):
        return _NoFarewell()
    from hypercorn_image.worker.h2 import Farewell

    farewell = Farewell()
    farewell.install()
    return farewell
