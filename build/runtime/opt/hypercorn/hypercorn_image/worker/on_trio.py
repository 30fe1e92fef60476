"""A worker on trio: the same order of stopping as `on_asyncio`, with trio's means."""

import signal
import time
from typing import Any, Callable, List, Optional, Tuple

import hypercorn.protocol.h2
import hypercorn.trio
import trio

from hypercorn_image import upstream
from hypercorn_image.app.lifespan import Lifespan
from hypercorn_image.listen import draining
from hypercorn_image.process import channel
from hypercorn_image.worker.gate import GOING_AWAY, Gate
from hypercorn_image.worker.h2 import Farewell
from hypercorn_image.worker.quic import Quic
from hypercorn_image.worker.worker import LINGER, SETTLE, Worker


def run(worker: Worker) -> None:
    """Serve until told to stop. Raises StartError, or what Hypercorn raises, when it cannot."""
    trio.run(_Serving(worker).run)


class _Serving:
    """One worker's life: lifespan, serving, stopping."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.stopping = trio.Event()
        self.settled_at: Optional[float] = None
        self.done_since: Optional[float] = None
        self.lifespan = Lifespan(worker.asgi, trio.Event)
        self.farewell = Farewell()
        self.farewell.install()
        self.gate: Any = Gate(worker.asgi, self.lifespan.state, trio.sleep)
        self.gate.limit = worker.max_requests
        self.gate.on_limit = lambda: worker.say(channel.RECYCLE, requests=self.gate.total)
        self.gate.interruptible = _interruptible
        self.quic: List[Any] = []  # Hypercorn's QUIC protocols
        if worker.udp:
            upstream.note_quic(self.quic)
        self.closing: Optional[List[Quic]] = None

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self._listen)
            nursery.start_soon(self.lifespan.run)
            try:
                await self._start_lifespan()
                await self._serve()
            finally:
                with trio.CancelScope(shield=True):
                    await self._stop_lifespan()
            nursery.cancel_scope.cancel()

    async def _listen(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Hear of a stop: from the parent, or by a signal where there is no parent."""
        if self.worker.from_parent is None:
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                task_status.started()
                async for _ in signals:
                    self.worker.begin_stop()
                    self.stopping.set()
            return
        signal.signal(signal.SIGTERM, lambda number, frame: self.worker.say(channel.RECYCLE))
        task_status.started()
        while not self.worker.asked():
            await trio.lowlevel.wait_readable(self.worker.from_parent.descriptor)
        self.stopping.set()

    async def _start_lifespan(self) -> None:
        async with trio.open_nursery() as nursery:

            async def unless_stopped() -> None:
                await self.stopping.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(unless_stopped)
            with trio.move_on_after(self.worker.config.startup_timeout):
                await self.lifespan.started.wait()
            nursery.cancel_scope.cancel()
        self.worker.check_lifespan(self.lifespan, self.stopping.is_set())

    async def _serve(self) -> None:
        if self.stopping.is_set():
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_after, nursery.cancel_scope)
            await hypercorn.trio.serve(self.gate, self.worker.config, shutdown_trigger=self._trigger, mode="asgi")
            nursery.cancel_scope.cancel()

    async def _look_after(self, scope: trio.CancelScope) -> None:
        await self.stopping.wait()
        while self.settled_at is None or not await self._is_over():
            await trio.sleep(0.05)
        scope.cancel()

    async def _trigger(self) -> None:
        """Run by Hypercorn as soon as it serves; its end is what makes Hypercorn stop."""
        self.worker.started()
        await self.stopping.wait()
        await self.worker.drain(trio.sleep)
        await self._stop_accepting()
        await self.gate.leave()
        await self.farewell.leave()
        await trio.sleep(min(SETTLE, self.worker.left()))
        await self.worker.welcome(trio.sleep, self._quic())
        self.settled_at = time.monotonic()

    async def _stop_accepting(self) -> None:
        # Hypercorn's accepting tasks end only with the trigger, too late for what they have just accepted.
        draining.replace(self.worker.listening)

    async def _is_over(self) -> bool:
        """Tell whether waiting for Hypercorn any longer is of no use, and help it on."""
        assert self.settled_at is not None
        if self.worker.left() == 0:
            return True
        if time.monotonic() > self.settled_at + LINGER:
            self.gate.silent_clients()
        if self.gate.in_progress or not await self._close_quic():
            self.done_since = None
            return False
        if self.done_since is None:
            self.done_since = time.monotonic()
        return time.monotonic() > self.done_since + LINGER

    async def _close_quic(self) -> bool:
        servers = self._quic()
        closed = all([await quic.close_finished() for quic in servers])
        if closed and all(quic.gone for quic in servers):
            self.worker.quic_is_closed()
        return closed

    def _quic(self) -> List[Quic]:
        if self.closing is None:
            self.closing = [Quic(protocol) for protocol in self.quic]
        return self.closing

    async def _stop_lifespan(self) -> None:
        self.lifespan.stop()
        with trio.move_on_after(self.worker.lifespan_limit()):
            await self.lifespan.finished.wait()
        self.worker.check_shutdown(self.lifespan)


def _interruptible(receive: Any) -> Tuple[Any, Callable[[], None]]:
    """Return `receive` such that the second value called makes it return a disconnect."""
    scopes: List[trio.CancelScope] = []

    async def receive_or_end() -> Any:
        with trio.CancelScope() as scope:
            scopes[:] = [scope]
            return await receive()
        return {"type": "websocket.disconnect", "code": GOING_AWAY}

    def interrupt() -> None:
        for scope in scopes:
            scope.cancel()

    return receive_or_end, interrupt
