"""Hypercorn's worker context, but for its termination: connections that say good-bye themselves shall not know it."""

from typing import Any


class _Never:
    def is_set(self) -> bool:
        return False


class Untold:
    """Stands for a `context` whose worker is never terminated."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self.terminated = _Never()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)
