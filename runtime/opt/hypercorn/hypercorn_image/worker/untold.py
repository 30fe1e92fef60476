# SPDX-License-Identifier: MIT
"""Hides a worker's termination from Hypercorn's connections that say good-bye themselves."""

from typing import Any


class _Never:
    def is_set(self) -> bool:
        return False


class Untold:
    """Wraps a worker's `context` so that it is never terminated."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self.terminated = _Never()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)
