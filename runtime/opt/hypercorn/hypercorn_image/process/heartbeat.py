# SPDX-License-Identifier: MIT
"""Tells which workers do not respond: the event loop of each sends a heartbeat once a second.

Pure: nothing here reads a clock or a pipe. Only the time that the parent was awake counts. Each of its checks adds one
interval at most, however long ago the last one was. So nobody counts as silent because the container was paused, the
clock stood still, or the machine was too busy to run the parent.
"""

from typing import Dict, Iterable, Set

INTERVAL = 1.0  # seconds between two heartbeats of a worker, and at most between two checks of the parent
# Seconds. An event loop that is blocked for so long serves nobody. It is far more than an import, a garbage collection
# or a moment without processor time takes.
LIMIT = 30.0


class Heartbeats:
    """When each worker was heard of last."""

    limit = LIMIT

    def __init__(self) -> None:
        self._awake = self._looked = 0.0
        self._heard: Dict[int, float] = {}

    def beat(self, pid: int) -> None:
        """A worker has sent a heartbeat."""
        self._heard[pid] = self._awake

    def silent(self, serving: Iterable[int], now: float) -> Set[int]:
        """Return those of the workers `serving` that have been silent for longer than the limit; forget all others.

        Call it after each check of the pipes. A new worker counts as just heard. `now` is in seconds.
        """
        self._awake += min(max(0.0, now - self._looked), INTERVAL)
        self._looked = now
        self._heard = {pid: self._heard.get(pid, self._awake) for pid in serving}
        return {pid for pid, heard in self._heard.items() if self._awake - heard > self.limit}
