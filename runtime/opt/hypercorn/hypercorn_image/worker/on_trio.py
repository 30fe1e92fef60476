# SPDX-License-Identifier: MIT
"""A worker on trio: implements `serving` there."""

import signal
from typing import Any, Callable

import hypercorn.trio
import trio

from hypercorn_image.listen import draining
from hypercorn_image.process import channel
from hypercorn_image.process.signals import FROM_OPERATORS
from hypercorn_image.worker.descriptors import Shortage
from hypercorn_image.worker.serving import Serving
from hypercorn_image.worker.worker import Worker


def run(worker: Worker) -> None:
    """Serve until told to stop. Raises StartError, or what Hypercorn raises, when it cannot."""
    Shortage(worker.log).filter_trio()
    if worker.proxy_protocol:
        from hypercorn_image.worker.proxy_protocol import on_trio

        on_trio.install(worker.senders())
    trio.run(_Serving(worker).run)


class _Serving(Serving):
    """One worker's life on trio."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker, trio.Event, trio.sleep)
        self._nursery: Any = None

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
        """Listen to the parent, or to signals if there is no parent."""
        if self.worker.parent is None:
            with trio.open_signal_receiver(*FROM_OPERATORS) as signals:
                task_status.started()
                async for number in signals:
                    self.hear_signal(number)
            return
        signal.signal(signal.SIGTERM, lambda number, frame: self.worker.say(channel.RECYCLE))
        task_status.started()
        while not self.hear():
            await trio.lowlevel.wait_readable(self.worker.parent.descriptor)

    async def _start_lifespan(self) -> None:
        async with trio.open_nursery() as nursery:

            async def unless_stopped() -> None:
                await self.stopping.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(unless_stopped)
            with trio.move_on_after(self.worker.config.startup_timeout):
                await self.lifespan.started.wait()
            nursery.cancel_scope.cancel()
        self.check_lifespan()

    async def _serve(self) -> None:
        if not self.opens():
            return
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._look_after, nursery.cancel_scope)
            await hypercorn.trio.serve(self.gate, self.worker.config, shutdown_trigger=self.trigger, mode="asgi")
            nursery.cancel_scope.cancel()

    async def _look_after(self, scope: trio.CancelScope) -> None:
        await self.stopping.wait()
        while not await self.is_over():
            await trio.sleep(0.05)
        scope.cancel()

    async def stop_accepting(self) -> None:
        # Hypercorn goes on accepting until the trigger returns, which is too late for what it accepts then.
        draining.replace(self.worker.listening)

    def has_connections(self) -> bool:
        return True  # Hypercorn does not tell

    def is_sending(self) -> bool:
        return False  # data has been sent when the application's `send` returns

    def spawn(self, function: Callable[[], Any]) -> None:
        self._nursery.start_soon(function)

    async def cut(self, server: Any) -> None:
        await trio.aclose_forcefully(server.stream)

    async def _stop_lifespan(self) -> None:
        self.lifespan.stop()
        with trio.move_on_after(self.clock.lifespan(self.worker.config.shutdown_timeout)):
            await self.lifespan.finished.wait()
        self.check_shutdown()
