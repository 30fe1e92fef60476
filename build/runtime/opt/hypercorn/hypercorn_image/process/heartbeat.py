"""Which workers are silent: the event loop of each says once a second that it still turns.

Pure: nothing here reads a clock or a pipe. Time is what the parent was awake. Each of its looks counts for one interval
at most, however long ago the last one was: a paused container, a stopped clock and a machine so busy that the parent
does not get to run make nobody silent.
"""

from typing import Dict, Iterable, Set

INTERVAL = 1.0  # seconds between two beats of a worker, and at most between two looks of the parent
# Seconds. An event loop turns hundreds of times a second; one that does not within this time serves nobody. Far above
# what an import, a garbage collection or a moment without processor time takes.
LIMIT = 30.0


class Heartbeats:
    """When each worker was heard of last."""

    limit = LIMIT

    def __init__(self) -> None:
        self._awake = self._looked = 0.0
        self._heard: Dict[int, float] = {}

    def beat(self, pid: int) -> None:
        """A worker says that its event loop turns."""
        self._heard[pid] = self._awake

    def silent(self, serving: Iterable[int], now: float) -> Set[int]:
        """Return those of the workers `serving` that are silent for longer than the limit; forget all others.

        Called after each look at the pipes. A worker that is new here is taken for one just heard. `now` is in seconds.
        """
        self._awake += min(max(0.0, now - self._looked), INTERVAL)
        self._looked = now
        self._heard = {pid: self._heard.get(pid, self._awake) for pid in serving}
        return {pid for pid, heard in self._heard.items() if self._awake - heard > self.limit}
