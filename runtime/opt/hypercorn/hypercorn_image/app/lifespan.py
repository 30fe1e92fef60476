# SPDX-License-Identifier: MIT
"""Runs the application's lifespan, in place of Hypercorn.

A failed startup gets one line, and is not taken for an application without lifespan. The shutdown runs whatever happens
to the connections. It works on asyncio and trio, because it needs only their events.
"""

import traceback
from typing import Any, Callable, Dict, Optional

from hypercorn_image.app.application import own_traceback
from hypercorn_image.errors import StartError


class Lifespan:
    """Runs one application's lifespan. `run` is its task; the other methods talk to it."""

    def __init__(self, application: Any, event: Callable[[], Any]) -> None:
        self.state: Dict[str, Any] = {}
        self.supported = True
        self.reason = ""  # why it is not supported
        self.failure: Optional[StartError] = None
        self.shutdown_failure: Optional[str] = None
        self.started, self.finished = event(), event()
        self._stopping, self._never = event(), event()
        self._application = application
        self._asked = 0  # calls of `receive`; an application without lifespan makes none

    async def run(self) -> None:
        """Run the application until its shutdown is complete."""
        scope = {"type": "lifespan", "asgi": {"spec_version": "2.0", "version": "3.0"}, "state": self.state}
        try:
            await self._application(scope, self._receive, self._send)
        except Exception as error:
            if not self.started.is_set() and self._asked:
                self.failure = _raised(error)
            elif not self.started.is_set():
                self.supported = False
                self.reason = f"{type(error).__name__}: {error}"
            elif self.failure is None and self.shutdown_failure is None:
                self.shutdown_failure = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        finally:
            if not self.started.is_set():
                self.supported = False
            self.started.set()
            self.finished.set()

    def check_start(self, limit: float) -> None:
        """Raise StartError if it has failed to start, or has not started. `limit` seconds have passed."""
        if self.failure is not None:
            raise self.failure
        if not self.started.is_set():
            raise StartError([f"the application's lifespan did not start within {limit:g} s (STARTUP_TIMEOUT)"])

    def stop(self) -> None:
        """Ask the application to shut down. `finished` is set when it has, at once if it had not started."""
        if not self.supported or not self.started.is_set():
            self.finished.set()
        self._stopping.set()

    async def _receive(self) -> Dict[str, Any]:
        self._asked += 1
        if self._asked == 1:
            return {"type": "lifespan.startup"}
        if self._asked == 2:
            await self._stopping.wait()
            return {"type": "lifespan.shutdown"}
        await self._never.wait()
        raise RuntimeError("unreachable")

    async def _send(self, message: Dict[str, Any]) -> None:
        kind, text = message["type"], str(message.get("message", ""))
        if kind == "lifespan.startup.complete":
            self.started.set()
        elif kind == "lifespan.startup.failed":
            self.failure = _failure(text)
            self.started.set()
        elif kind == "lifespan.shutdown.complete":
            self.finished.set()
        elif kind == "lifespan.shutdown.failed":
            self.shutdown_failure = text or "no message"
            self.finished.set()


def _failure(text: str) -> StartError:
    # Starlette sends a traceback as the message. Its last line says what happened.
    lines = [line for line in text.splitlines() if line.strip()]
    details = text if len(lines) > 1 else None
    return StartError(
        ["the application's lifespan failed to start: " + (lines[-1] if lines else "no message")], details
    )


def _raised(error: Exception) -> StartError:
    line = f"the application's lifespan failed to start: {type(error).__name__}: {error}"
    return StartError([line], own_traceback(error))


async def answer(state: Dict[str, Any], scope: Dict[str, Any], receive: Any, send: Any) -> None:
    """Answer the lifespan that Hypercorn runs, in place of the application, and hand over its `state`."""
    await receive()
    scope.setdefault("state", {}).update(state)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
