"""A worker on asyncio or uvloop.

The event loop is our own subclass of theirs. It remembers the servers and connections that are made through its public
methods, so that a stop can go in the right order: no new connections, then what was sent is answered, then idle
connections are closed.
"""

import asyncio
import contextlib
import signal
import time
from typing import Any, List, Set

import hypercorn.asyncio
import hypercorn.asyncio.run  # noqa: F401  (imported before the fork, with all that it imports)
import hypercorn.protocol.h11
from hypercorn_image import channel
from hypercorn_image.gate import Gate
from hypercorn_image.lifespan import Lifespan
from hypercorn_image.worker import LIFESPAN_GRACE, SETTLE, Worker

_STUCK = 0.5  # seconds without anything left to send after which a closing connection is dropped


class _Server:
    """Stands for an asyncio server. Its `wait_closed` does not wait for connections.

    Python 3.12 made it wait for them all, before Hypercorn looks at its graceful timeout (HYPERCORN.md 4, cpython
    gh-79033). Can go when Hypercorn bounds that wait.
    """

    def __init__(self, server: Any) -> None:
        self._server = server

    def close(self) -> None:
        self._server.close()

    async def wait_closed(self) -> None:
        return


class _Connection(asyncio.Protocol):
    """Passes everything on to Hypercorn's protocol, and notes the transport."""

    def __init__(self, inner: Any, transports: Set[Any]) -> None:
        self._inner = inner
        self._transports = transports
        # Bound here, not wrapped: nothing is added to the path of the data.
        for name in ("data_received", "eof_received", "pause_writing", "resume_writing"):
            setattr(self, name, getattr(inner, name))

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._transports.add(transport)
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Any) -> None:
        self._transports.discard(self._transport)
        self._inner.connection_lost(exc)


class LoopMixin:
    """What is added to an event loop class: `servers`, `transports` and `datagrams` made through it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.servers: List[Any] = []
        self.transports: Set[Any] = set()
        self.datagrams: List[Any] = []

    async def create_server(self, protocol_factory: Any, *args: Any, **kwargs: Any) -> Any:
        """Make a server whose connections are known."""
        server = await super().create_server(  # type: ignore[misc]
            lambda: _Connection(protocol_factory(), self.transports), *args, **kwargs
        )
        self.servers.append(server)
        return _Server(server)

    async def create_datagram_endpoint(self, protocol_factory: Any, *args: Any, **kwargs: Any) -> Any:
        """Make a datagram endpoint that is known."""
        pair = await super().create_datagram_endpoint(protocol_factory, *args, **kwargs)  # type: ignore[misc]
        self.datagrams.append(pair)
        return pair


def loop_class(worker_class: str) -> Any:
    """Return the event loop class of `worker_class`."""
    if worker_class == "uvloop":
        import uvloop

        base: Any = uvloop.Loop
    else:
        base = asyncio.SelectorEventLoop
    return type("ImageLoop", (LoopMixin, base), {})


def run(worker: Worker) -> None:
    """Serve until told to stop. Raises StartError, or what Hypercorn raises, when it cannot."""
    loop = loop_class(worker.worker_class)()
    asyncio.set_event_loop(loop)
    loop.set_debug(worker.debug)
    loop.set_exception_handler(_exception_handler)
    try:
        loop.run_until_complete(_Serving(worker, loop).run())
    finally:
        _close(loop, worker)


def _exception_handler(loop: Any, context: Any) -> None:
    import ssl

    if not isinstance(context.get("exception"), ssl.SSLError):  # a failed handshake is the client's affair
        loop.default_exception_handler(context)


def _close(loop: Any, worker: Worker) -> None:
    tasks = [task for task in asyncio.all_tasks(loop) if not task.done()]
    for task in tasks:
        task.cancel()
    with contextlib.suppress(Exception):
        loop.run_until_complete(
            asyncio.wait(tasks, timeout=worker.left() + LIFESPAN_GRACE) if tasks else asyncio.sleep(0)
        )
        loop.run_until_complete(loop.shutdown_asyncgens())
    with contextlib.suppress(Exception):
        loop.close()


class _Serving:
    def __init__(self, worker: Worker, loop: Any) -> None:
        self.worker, self.loop = worker, loop
        self.stopping = asyncio.Event()
        self.lifespan = Lifespan(worker.asgi, asyncio.Event)
        self.gate = Gate(worker.asgi, self.lifespan.state, asyncio.Event)
        self.gate.limit, self.gate.on_limit = worker.max_requests, self._recycle

    async def run(self) -> None:
        self._listen()
        lifespan_task = self.loop.create_task(self.lifespan.run())
        await self._start_lifespan()
        try:
            await self._serve()
        finally:
            await self._stop_lifespan()
            lifespan_task.cancel()

    def _listen(self) -> None:
        """Hear of a stop: from the parent, or by a signal where there is no parent."""
        if self.worker.from_parent is not None:
            self.loop.add_reader(self.worker.from_parent.descriptor, self._from_parent)
        else:
            for number in (signal.SIGTERM, signal.SIGINT):
                self.loop.add_signal_handler(number, self._stop)

    def _from_parent(self) -> None:
        if self.worker.asked():
            self.loop.remove_reader(self.worker.from_parent.descriptor)  # type: ignore[union-attr]
            self.stopping.set()

    def _stop(self) -> None:
        self.worker.begin_stop()
        self.stopping.set()

    def _recycle(self) -> None:
        if self.worker.to_parent is not None:
            self.worker.say(channel.RECYCLE, requests=self.gate.total)

    async def _start_lifespan(self) -> None:
        stopped = self.loop.create_task(self.stopping.wait())
        started = self.loop.create_task(self.lifespan.started.wait())
        timeout = self.worker.config.startup_timeout
        await asyncio.wait({stopped, started}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        started.cancel()
        self.worker.check_lifespan(self.lifespan, self.stopping.is_set())

    async def _serve(self) -> None:
        if self.stopping.is_set():
            return
        serving = self.loop.create_task(
            hypercorn.asyncio.serve(self.gate, self.worker.config, shutdown_trigger=self._trigger, mode="asgi")
        )
        while not serving.done():
            # Without a stop this waits for ever; with one it looks after the connections that are closing.
            await asyncio.wait({serving}, timeout=0.05 if self.stopping.is_set() else None)
            if self.stopping.is_set():
                self._drop_stuck()
                if self.worker.left() == 0 and self._overdue():
                    serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            serving.result()

    async def _trigger(self) -> None:
        self.worker.started()
        await self.stopping.wait()
        for server in self.loop.servers:
            server.close()
        config = self.worker.config
        config.keep_alive_max_requests = 0  # from now on answers say "connection: close"
        await self.gate.close_websockets()
        await asyncio.sleep(min(SETTLE, self.worker.left()))
        await self.gate.close_websockets()  # those that were accepted meanwhile
        config.graceful_timeout = self.worker.left()

    def _overdue(self) -> bool:
        assert self.worker.stop_at is not None
        return time.monotonic() > self.worker.stop_at + 0.2

    def _drop_stuck(self) -> None:
        pass

    async def _stop_lifespan(self) -> None:
        self.lifespan.stop()
        limit = min(self.worker.config.shutdown_timeout, self.worker.left() + LIFESPAN_GRACE)
        finished = self.loop.create_task(self.lifespan.finished.wait())
        await asyncio.wait({finished}, timeout=limit)
        self.worker.check_shutdown(self.lifespan)
