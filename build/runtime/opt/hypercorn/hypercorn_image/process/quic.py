"""The UDP sockets of workers that died, for those that take their place.

The kernel chooses among the workers' sockets by their order. A replacement with the sockets of the worker that died
leaves that order, and so every connection of the others, as it is.
"""

from typing import Any, Container, Dict, Tuple

from hypercorn_image.listen.sockets import Listeners
from hypercorn_image.process.children import Child
from hypercorn_image.process.wanted import Fork


class SpareSockets:
    """UDP sockets that nobody reads, by slot."""

    def __init__(self) -> None:
        self._spare: Dict[int, Tuple[int, Dict[str, Any]]] = {}

    def keep(self, child: Child) -> None:
        """Keep the sockets of a worker that has died, for the next one in its slot."""
        if child.quic:
            self._close(child.slot)
            self._spare[child.slot] = (child.generation, child.quic)
            child.quic = {}

    def take(self, fork: Fork, listeners: Listeners) -> Dict[str, Any]:
        """Return the sockets of a new worker: those kept for it, or new ones. Raises StartError."""
        generation, sockets = self._spare.get(fork.slot, (None, {}))
        if generation != fork.generation.number:
            return listeners.open_quic()
        del self._spare[fork.slot]
        return sockets

    def forget(self, generations: Container[int]) -> None:
        """Close what was kept for generations of which no worker will be started."""
        for slot, (generation, _) in list(self._spare.items()):
            if generation not in generations:
                self._close(slot)

    def close(self) -> None:
        """Close all."""
        for slot in list(self._spare):
            self._close(slot)

    def _close(self, slot: int) -> None:
        _, sockets = self._spare.pop(slot, (None, {}))
        for sock in sockets.values():
            sock.close()
