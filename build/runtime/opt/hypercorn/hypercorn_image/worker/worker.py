"""One worker: serves the application with Hypercorn's documented `serve` until it is told to stop.

Runs in a forked child, or in the only process with WEB_CONCURRENCY=0. What is particular to an event loop is in
`on_asyncio` and `on_trio`; `running` chooses between them; which workers there are is the supervisor's business.
"""

import contextlib
import os
import random
import sys
import threading
import time
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional

from hypercorn_image import upstream
from hypercorn_image.app import application
from hypercorn_image.config.effective import Effective
from hypercorn_image.errors import StartError
from hypercorn_image.listen import draining
from hypercorn_image.listen.sockets import Listeners
from hypercorn_image.process import channel
from hypercorn_image.worker.quic import Quic

# How long connections go on being served after the stop is announced and before idle ones are closed: what the kernel
# has accepted or a client has just sent is read and answered, and answers say `connection: close`.
SETTLE = 0.5
LINGER = 0.5  # how long a peer may take to agree to the end of a connection on which nothing is left to say
HANDSHAKE = 1.0  # how long a TLS or QUIC handshake may take that has begun when the worker leaves
FOREVER = 86400.0  # Hypercorn's own graceful timeout: the worker keeps the time itself
LIFESPAN_GRACE = 0.5  # what the lifespan's shutdown gets when requests have used up the graceful timeout


class Loaded(NamedTuple):
    """An imported application, and which kind it was said to be."""

    application: Any
    mode: Optional[str]


class Worker:
    """What both kinds of event loop need to know: configuration, application, and the way to the parent."""

    def __init__(
        self,
        effective: Effective,
        loaded: Optional[Loaded],
        listeners: Listeners,
        quic: Dict[str, Any],
    ) -> None:
        self.config, self.path, self.variables, _ = effective
        self.listeners, self.quic_sockets = listeners, quic
        self.loaded = loaded
        self.to_parent: Optional[channel.Sender] = None
        self.from_parent: Optional[channel.Receiver] = None
        self.stop_at: Optional[float] = None  # when requests in progress are cut, on the monotonic clock
        self.graceful_timeout = float(self.config.graceful_timeout)
        self.worker_class = self.config.worker_class
        self.listening: List[int] = []  # descriptors
        self.udp: List[int] = []
        self.last = False  # whether all workers stop, so that nobody accepts after this one
        self.on_started: Callable[[], None] = lambda: None
        self._quic_said = False

    def prepare(self) -> None:
        """Set what `serve` would warn of or is ours to do, and import the application; raises StartError."""
        self.max_requests = self.config.max_requests
        if self.max_requests is not None:
            self.max_requests += random.SystemRandom().randint(0, self.config.max_requests_jitter)
        # Hypercorn's own would stop this worker before another one is there.
        self.config.max_requests = None
        self.config.workers = 1
        self.listeners.adopt(self.config, self.quic_sockets, copy=self.to_parent is None)
        self.listening = [int(bind[5:]) for bind in self.config.bind + self.config.insecure_bind]
        self.udp = [int(bind[5:]) for bind in self.config.quic_bind]
        self.config.graceful_timeout = FOREVER
        self.debug, self.config.debug = self.config.debug, False
        if self.loaded is None:
            self.loaded = Loaded(*application.load(self.path))
        self.asgi = application.to_asgi3(
            self.loaded.application, self.loaded.mode, self.worker_class, self.config.wsgi_max_body_size
        )

    def say(self, what: str, **details: Any) -> None:
        """Tell the parent, where there is one."""
        if self.to_parent is not None:
            self.to_parent.send(what, **details)

    def asked(self) -> bool:
        """Read what the parent says; return whether to stop, which the parent's end means too."""
        if self.from_parent is None:
            return False
        stop = False
        for message in self.from_parent.receive():
            if message["what"] == channel.STOP:
                self.begin_stop(message["seconds"])
                self.last = message["last"]
                stop = True
        if self.from_parent.ended and not stop:
            self.begin_stop(self.graceful_timeout)
            self.last = stop = True
        return stop

    def begin_stop(self, seconds: Optional[float] = None) -> None:
        """Note when requests in progress will be cut: `seconds` from now, the graceful timeout by default."""
        if self.stop_at is None:
            self.stop_at = time.monotonic() + (self.graceful_timeout if seconds is None else seconds)
            _end_of_last_resort(self.stop_at + LIFESPAN_GRACE + 0.3)

    def not_as_expected(self, name: str) -> None:
        """Log that the assumption `name` about upstream does not hold."""
        if self.config.log.error_logger is not None:
            self.config.log.error_logger.warning(upstream.line(name))

    def started(self) -> None:
        """Say that the worker accepts connections."""
        self.say(channel.READY)
        self.on_started()

    async def drain(self, sleep: Callable[[float], Any]) -> None:
        """Let nobody new in, and accept until nothing waits. The caller closes in the next instruction.

        Where only this worker leaves, the others accept what waits.
        """
        draining.refuse_new_quic(self.udp)
        if self.to_parent is None:
            self.listeners.refuse_new()
            limit = time.monotonic() + min(draining.HALF_OPEN, self.left())
            while self.listeners.half_open() and time.monotonic() < limit:
                await sleep(0.01)
            self.listeners.close()
        elif not self.last:
            return
        limit = time.monotonic() + min(draining.LIMIT, self.left())
        await sleep(0)
        while draining.waiting(self.listening) and time.monotonic() < limit:
            await sleep(0.001)

    async def welcome(self, sleep: Callable[[float], Any], servers: Iterable[Quic]) -> None:
        """Give QUIC connections that are being set up the time to send a request."""
        limit = time.monotonic() + min(HANDSHAKE, self.left())
        while any(server.awaits_request for server in servers) and time.monotonic() < limit:
            await sleep(0.01)

    def quic_is_closed(self) -> None:
        """Tell the parent that this worker reads its UDP sockets no more, once."""
        if self.udp and not self._quic_said:
            self._quic_said = True
            self.say(channel.QUIC_CLOSED)

    def lifespan_limit(self) -> float:
        """Return how many seconds the lifespan's shutdown may take."""
        return float(min(self.config.shutdown_timeout, self.left() + LIFESPAN_GRACE))

    def check_lifespan(self, lifespan: Any, stopping: bool) -> None:
        """Raise StartError when the application's lifespan has failed, or was too slow, to start."""
        if stopping:
            return
        if lifespan.failure is not None:
            raise lifespan.failure
        if not lifespan.started.is_set():
            limit = self.config.startup_timeout
            raise StartError([f"the application's lifespan did not start within {limit:g} s (STARTUP_TIMEOUT)"])
        if lifespan.reason and self.config.log.error_logger is not None:
            self.config.log.error_logger.info("The application has no lifespan (%s)", lifespan.reason)

    def check_shutdown(self, lifespan: Any) -> None:
        """Log a lifespan that failed to shut down, or did not in time."""
        logger = self.config.log.error_logger
        if logger is None:
            return
        if lifespan.shutdown_failure:
            logger.error("The application's lifespan failed to shut down: %s", lifespan.shutdown_failure)
        elif not lifespan.finished.is_set():
            logger.error("The application's lifespan did not shut down in time")

    def left(self) -> float:
        """Return how many seconds requests in progress still have."""
        return self.graceful_timeout if self.stop_at is None else max(0.0, self.stop_at - time.monotonic())


def _end_of_last_resort(moment: float) -> None:
    # Python waits at its end for threads, and a WSGI request may sit in one for ever.
    def end() -> None:
        time.sleep(max(0.0, moment - time.monotonic()))
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(0)

    threading.Thread(target=end, daemon=True, name="hypercorn-image-end").start()
