# SPDX-License-Identifier: MIT
"""Keeps the UDP sockets of workers that died for their replacements.

A replacement reads from them what clients have sent meanwhile.
"""

from typing import Any, Container, Dict, List, Tuple

from hypercorn_image.listen.sockets import Listeners
from hypercorn_image.process.children import Child
from hypercorn_image.process.wanted import Fork


class SpareSockets:
    """UDP sockets that nobody reads, by slot."""

    def __init__(self) -> None:
        self._spare: Dict[int, Tuple[int, List[Any]]] = {}

    def keep(self, child: Child) -> None:
        """Keep the sockets of a worker that has died, for the next one in its slot."""
        self._spare[child.slot] = (child.generation, child.quic)
        child.quic = []

    def take(self, fork: Fork, listeners: Listeners) -> List[Any]:
        """Return the sockets of a new worker: those kept for it, or new ones. Raises StartError."""
        generation, sockets = self._spare.pop(fork.slot, (None, []))
        if generation == fork.generation.number:
            return sockets
        try:
            return listeners.open_quic(fork.slot)
        finally:
            listeners.quic.retire(sockets)

    def forget(self, generations: Container[int]) -> List[Any]:
        """Drop and return what was kept for all other generations: they get no more workers."""
        slots = [slot for slot, (generation, _) in self._spare.items() if generation not in generations]
        return [sock for slot in slots for sock in self._spare.pop(slot)[1]]
