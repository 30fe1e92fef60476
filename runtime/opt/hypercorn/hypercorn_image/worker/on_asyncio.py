# SPDX-License-Identifier: MIT
"""A worker on asyncio or uvloop: implements `serving` there."""

import asyncio
import contextlib
import functools
import signal
import sys
import time
from typing import Any, Callable, Set

import hypercorn.asyncio

from hypercorn_image import upstream
from hypercorn_image.listen import draining
from hypercorn_image.process import channel
from hypercorn_image.process.signals import FROM_OPERATORS
from hypercorn_image.worker.clock import LIFESPAN_GRACE
from hypercorn_image.worker.descriptors import Shortage
from hypercorn_image.worker.loop import loop_class
from hypercorn_image.worker.serving import HANDSHAKE, Serving
from hypercorn_image.worker.worker import Worker, reads_http1

# On Python 3.8 a cancelled connection of Hypercorn spins for ever, in the backport of TaskGroup that it uses there
# (taskgroup 0.2.2, install.py), and no other thread gets to run. So nothing is cancelled: connections are cut, and what
# is left is abandoned. This can go with Python 3.8.
_CANCELS = sys.version_info >= (3, 9)


def run(worker: Worker) -> None:
    """Serve until told to stop. Raises StartError, or what Hypercorn raises, when it cannot."""
    loop = loop_class(worker.worker_class)()
    asyncio.set_event_loop(loop)
    loop.set_debug(worker.debug)
    loop.ours = {*worker.listening, *worker.udp}
    loop.shortage = Shortage(worker.log)
    if worker.worker_class == "uvloop":
        loop.on_connection = loop.shortage.took_last
    loop.set_exception_handler(_exception_handler)
    if worker.proxy_protocol:
        from hypercorn_image.worker.proxy_protocol.acceptor import Acceptor

        loop.accepts = functools.partial(Acceptor, loop, worker.senders())
    try:
        loop.run_until_complete(_Serving(worker, loop).run())
    finally:
        _close(loop)


def _exception_handler(loop: Any, context: Any) -> None:
    import ssl

    if "socket" in context and loop.shortage.causes(context.get("exception")):
        loop.shortage.note()
        return
    # A failed handshake is the client's fault. A connection that the graceful timeout has cut is no fault, but asyncio
    # reports it until Python 3.12 (streams.py, StreamReaderProtocol.connection_made).
    if not isinstance(context.get("exception"), (ssl.SSLError, asyncio.CancelledError)):
        loop.default_exception_handler(context)


def _close(loop: Any) -> None:
    tasks = [task for task in asyncio.all_tasks(loop) if not task.done()] if _CANCELS else []
    for task in tasks:
        task.cancel()
    if not _CANCELS:
        loop.set_exception_handler(lambda loop, context: None)  # "Task was destroyed but it is pending"
    with contextlib.suppress(Exception):
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=LIFESPAN_GRACE))
        loop.run_until_complete(loop.shutdown_asyncgens())
    # `close` removes the handlers only after the socket that signals are written to is closed (asyncio/unix_events.py).
    for number in FROM_OPERATORS:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(Exception):
        loop.close()


class _Serving(Serving):
    """One worker's life on the loop."""

    def __init__(self, worker: Worker, loop: Any) -> None:
        super().__init__(worker, asyncio.Event, asyncio.sleep)
        self.loop = loop
        self._background: Set[Any] = set()
        self.http1: Any = None
        if reads_http1(worker.config, worker.variables):
            from hypercorn_image.worker.http1.connection import Connection, Http1

            self.http1 = Http1(self.gate, worker.config, self.lifespan.state, loop)
            loop.front = functools.partial(Connection, self.http1)

    async def run(self) -> None:
        self._listen()
        lifespan_task = self.loop.create_task(self.lifespan.run())
        try:
            await self._start_lifespan()
            await self._serve()
        finally:
            await self._stop_lifespan()
            lifespan_task.cancel()

    def _listen(self) -> None:
        """Listen to the parent, or to signals if there is no parent."""
        if self.worker.parent is not None:
            self.loop.add_reader(self.worker.parent.descriptor, self._from_parent)
            self.loop.add_signal_handler(signal.SIGTERM, self.worker.say, channel.RECYCLE)
        else:
            for number in FROM_OPERATORS:
                self.loop.add_signal_handler(number, self.hear_signal, number)

    def _from_parent(self) -> None:
        assert self.worker.parent is not None
        if self.hear():
            self.loop.remove_reader(self.worker.parent.descriptor)

    async def _start_lifespan(self) -> None:
        stopped = self.loop.create_task(self.stopping.wait())
        started = self.loop.create_task(self.lifespan.started.wait())
        timeout = self.worker.config.startup_timeout
        await asyncio.wait({stopped, started}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        started.cancel()
        self.check_lifespan()

    async def _serve(self) -> None:
        if not self.opens():
            return
        serving = self.loop.create_task(
            hypercorn.asyncio.serve(self.gate, self.worker.config, shutdown_trigger=self.trigger, mode="asgi")
        )
        stopped = self.loop.create_task(self.stopping.wait())
        await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        abandoned = False
        while not serving.done():
            await asyncio.wait({serving}, timeout=0.05)
            if not serving.done() and await self.is_over():
                abandoned = True
                if not _CANCELS:
                    break
                serving.cancel()
        # Hypercorn does not know the connections of `http1`. They are closed once their answers have been sent.
        while self.http1 is not None and self.http1.connections and not await self.is_over():
            await asyncio.sleep(0.01)
        for transport in list(self.loop.transports):
            transport.abort()
        if not abandoned:
            serving.result()

    async def trigger(self) -> None:
        if len(self.loop.servers) != len(self.worker.listening) or len(self.loop.datagrams) != len(self.worker.udp):
            self.worker.not_as_expected("hypercorn-serves-on-its-sockets")
        await super().trigger()
        if self.http1 is not None:
            self.http1.terminate()

    async def stop_accepting(self) -> None:
        # Python drops a connection whose server is closed between its accept and its transport (Server._attach). So
        # nothing more is accepted first, then accepted connections get their transports, then the servers are closed.
        if self.worker.worker_class != "uvloop":  # which has no such gap
            for server in self.loop.servers:
                if not upstream.accept_no_more(self.loop, server):
                    self.worker.not_as_expected("asyncio-accepts-by-a-reader")
            draining.replace(self.worker.listening)
            await asyncio.sleep(0.01)
        for server in self.loop.servers:
            server.close()

    async def finish_handshakes(self) -> None:
        limit = time.monotonic() + min(HANDSHAKE, self.clock.left())
        while self.loop.handshaking and time.monotonic() < limit:
            await asyncio.sleep(0.01)

    def has_connections(self) -> bool:
        return bool(self.loop.transports or self.loop.datagrams)

    def is_sending(self) -> bool:
        return any(transport.get_write_buffer_size() > 0 for transport in self.loop.transports)

    def spawn(self, function: Callable[[], Any]) -> None:
        task = self.loop.create_task(function())
        self._background.add(task)  # the loop itself keeps no reference
        task.add_done_callback(self._background.discard)

    async def cut(self, server: Any) -> None:
        server.writer.transport.abort()

    def close_udp(self) -> None:
        for transport, server in self.loop.datagrams:
            if not transport.is_closing():
                server.datagram_received(b"", ("", 0))  # wakes its loop, which then ends
                transport.close()

    async def _stop_lifespan(self) -> None:
        self.lifespan.stop()
        finished = self.loop.create_task(self.lifespan.finished.wait())
        await asyncio.wait({finished}, timeout=self.clock.lifespan(self.worker.config.shutdown_timeout))
        finished.cancel()
        self.check_shutdown()
