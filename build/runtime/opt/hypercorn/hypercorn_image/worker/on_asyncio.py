"""A worker on asyncio or uvloop.

A stop goes in the right order: no new connections, then what was sent is answered, then idle connections are closed.
The event loop class, in `loop`, remembers what there is to close.
"""

import asyncio
import contextlib
import signal
import sys
import time
from typing import Any, List, Optional

import hypercorn.asyncio
import hypercorn.protocol.h2

from hypercorn_image import upstream
from hypercorn_image.app.lifespan import Lifespan
from hypercorn_image.listen import draining
from hypercorn_image.process import channel
from hypercorn_image.worker.gate import Gate
from hypercorn_image.worker.h2 import Farewell
from hypercorn_image.worker.loop import loop_class
from hypercorn_image.worker.quic import Quic
from hypercorn_image.worker.worker import HANDSHAKE, LIFESPAN_GRACE, LINGER, SETTLE, Worker

# On Python 3.8 a cancelled connection of Hypercorn spins for ever, in the backport of TaskGroup that it uses there
# (taskgroup 0.2.2, install.py), and no other thread gets to run. So nothing is cancelled: connections are cut, and what
# is left is abandoned. Can go with Python 3.8.
_CANCELS = sys.version_info >= (3, 9)


def run(worker: Worker) -> None:
    """Serve until told to stop. Raises StartError, or what Hypercorn raises, when it cannot."""
    loop = loop_class(worker.worker_class)()
    asyncio.set_event_loop(loop)
    loop.set_debug(worker.debug)
    loop.ours = {*worker.listening, *worker.udp}
    loop.set_exception_handler(_exception_handler)
    try:
        loop.run_until_complete(_Serving(worker, loop).run())
    finally:
        _close(loop)


def _exception_handler(loop: Any, context: Any) -> None:
    import ssl

    # A failed handshake is the client's affair. A cancelled connection is none: until Python 3.12 asyncio's own
    # callback reports the one that the graceful timeout has cut (streams.py, StreamReaderProtocol.connection_made).
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
    with contextlib.suppress(Exception):
        loop.close()


class _Serving:
    """One worker's life on the loop: lifespan, serving, stopping."""

    def __init__(self, worker: Worker, loop: Any) -> None:
        self.worker, self.loop = worker, loop
        self.stopping = asyncio.Event()
        self.settled_at: Optional[float] = None
        self.done_since: Optional[float] = None
        self.lifespan = Lifespan(worker.asgi, asyncio.Event)
        self.farewell = Farewell()
        self.farewell.install()
        self.gate: Any = Gate(worker.asgi, self.lifespan.state, asyncio.sleep)
        self.gate.limit = worker.max_requests
        self.gate.on_limit = lambda: worker.say(channel.RECYCLE, requests=self.gate.total)
        self.quic: List[Any] = []  # Hypercorn's QUIC protocols
        if worker.udp:
            upstream.note_quic(self.quic)
        self.closing: Optional[List[Quic]] = None

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
        """Hear of a stop: from the parent, or by a signal where there is no parent."""
        if self.worker.from_parent is not None:
            self.loop.add_reader(self.worker.from_parent.descriptor, self._from_parent)
            self.loop.add_signal_handler(signal.SIGTERM, self.worker.say, channel.RECYCLE)
        else:
            for number in (signal.SIGTERM, signal.SIGINT):
                self.loop.add_signal_handler(number, self._stop)

    def _from_parent(self) -> None:
        assert self.worker.from_parent is not None
        if self.worker.asked():
            self.loop.remove_reader(self.worker.from_parent.descriptor)
            self.stopping.set()

    def _stop(self) -> None:
        self.worker.begin_stop()
        self.stopping.set()

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
        stopped = self.loop.create_task(self.stopping.wait())
        await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        abandoned = False
        while not serving.done():
            await asyncio.wait({serving}, timeout=0.05)
            if not serving.done() and self.settled_at is not None and await self._is_over():
                abandoned = True
                if not _CANCELS:
                    break
                serving.cancel()
        for transport in list(self.loop.transports):
            transport.abort()
        if not abandoned:
            serving.result()

    async def _trigger(self) -> None:
        """Run by Hypercorn as soon as it serves; its end is what makes Hypercorn stop."""
        if len(self.loop.servers) != len(self.worker.listening) or len(self.loop.datagrams) != len(self.worker.udp):
            self.worker.not_as_expected("hypercorn-serves-on-its-sockets")
        self.worker.started()
        await self.stopping.wait()
        await self.worker.drain(asyncio.sleep)
        await self._stop_accepting()
        await self.gate.leave()
        await self.farewell.leave()
        await self._finish_handshakes()
        if self.loop.transports or self.loop.datagrams:
            await asyncio.sleep(min(SETTLE, self.worker.left()))
        await self.worker.welcome(asyncio.sleep, self._quic())
        self.settled_at = time.monotonic()

    async def _finish_handshakes(self) -> None:
        """Let connections that were accepted come to their first request: many TLS handshakes take a while."""
        limit = time.monotonic() + min(HANDSHAKE, self.worker.left())
        while self.loop.handshaking and time.monotonic() < limit:
            await asyncio.sleep(0.01)

    async def _stop_accepting(self) -> None:
        # First no more events, then the connections that were accepted already get their transports, then the close:
        # Python drops a connection whose server was closed between its accept and its transport (Server._attach).
        for server in self.loop.servers:
            if self.worker.worker_class == "uvloop":
                server.close()  # at once, and without such a gap
                continue
            if not upstream.accept_no_more(self.loop, server):
                self.worker.not_as_expected("asyncio-accepts-by-a-reader")
        if self.worker.worker_class != "uvloop":
            draining.replace(self.worker.listening)
            await asyncio.sleep(0.01)
            for server in self.loop.servers:
                server.close()

    async def _is_over(self) -> bool:
        """Tell whether waiting for Hypercorn any longer is of no use, and help it on."""
        assert self.settled_at is not None
        if self.worker.left() == 0:
            return True
        if time.monotonic() > self.settled_at + LINGER:
            silent = self.gate.silent_clients()
            for transport in list(self.loop.transports):
                if transport.get_extra_info("peername") in silent:
                    transport.abort()
        quic_closed = await self._close_quic()
        sending = any(transport.get_write_buffer_size() > 0 for transport in self.loop.transports)
        if self.gate.in_progress or sending or not quic_closed:
            self.done_since = None
            return False
        if self.done_since is None:
            self.done_since = time.monotonic()
        # What is left are peers that do not answer a TLS close_notify or a QUIC close.
        return time.monotonic() > self.done_since + LINGER

    async def _close_quic(self) -> bool:
        servers = self._quic()
        closed = [await quic.close_finished() for quic in servers]
        if all(quic.gone for quic in servers):
            for transport, server in self.loop.datagrams:
                if not transport.is_closing():
                    server.datagram_received(b"", ("", 0))  # wakes its loop, which then ends
                    transport.close()
            self.worker.quic_is_closed()
        return all(closed)

    def _quic(self) -> List[Quic]:
        if self.closing is None:
            self.closing = [Quic(protocol) for protocol in self.quic]
        return self.closing

    async def _stop_lifespan(self) -> None:
        self.lifespan.stop()
        finished = self.loop.create_task(self.lifespan.finished.wait())
        await asyncio.wait({finished}, timeout=self.worker.lifespan_limit())
        finished.cancel()
        self.worker.check_shutdown(self.lifespan)
