"""The application's lifespan, run by the worker and not by Hypercorn.

So that a failed start is told from a missing one and said in one line, and so that the shutdown runs whatever became of
the connections. Works on asyncio and trio: it needs only their events.
"""

import traceback
from typing import Any, Callable, Dict, Optional

from hypercorn_image.app.application import own_traceback
from hypercorn_image.errors import StartError


class Lifespan:
    """Drives one application's lifespan; `run` is its task, the other coroutines talk to it."""

    def __init__(self, application: Any, event: Callable[[], Any]) -> None:
        self.state: Dict[str, Any] = {}
        self.supported = True
        self.reason = ""  # why it is not supported
        self.failure: Optional[StartError] = None
        self.shutdown_failure: Optional[str] = None
        self.started, self.finished = event(), event()
        self._stopping, self._never = event(), event()
        self._application = application
        self._asked = 0  # how often it has called `receive`: one that never did knows no lifespan

    async def run(self) -> None:
        """Run the application's side until its shutdown is complete."""
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
        """Raise StartError when it has failed to start, or did not within `limit` seconds, which are over."""
        if self.failure is not None:
            raise self.failure
        if not self.started.is_set():
            raise StartError([f"the application's lifespan did not start within {limit:g} s (STARTUP_TIMEOUT)"])

    def stop(self) -> None:
        """Ask the application to shut down; `finished` is set when it has. One that has not started has nothing to."""
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
    # Starlette sends a whole traceback as the message: its last line says what happened.
    lines = [line for line in text.splitlines() if line.strip()]
    details = text if len(lines) > 1 else None
    return StartError(
        ["the application's lifespan failed to start: " + (lines[-1] if lines else "no message")], details
    )


def _raised(error: Exception) -> StartError:
    line = f"the application's lifespan failed to start: {type(error).__name__}: {error}"
    return StartError([line], own_traceback(error))


async def answer(state: Dict[str, Any], scope: Dict[str, Any], receive: Any, send: Any) -> None:
    """Answer Hypercorn's own lifespan in the application's place, handing it the application's `state`."""
    await receive()
    scope.setdefault("state", {}).update(state)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
