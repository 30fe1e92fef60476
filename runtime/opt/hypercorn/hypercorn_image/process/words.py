# SPDX-License-Identifier: MIT
"""The lines that the parent logs: the text for each note of `wanted`.

The words are gunicorn's and nginx's where they have one. docs/logs.md lists every line with what to do about it.
"""

from typing import Any, Callable, Container, Dict, Iterator, NamedTuple, Optional, Tuple, Type

from hypercorn_image.errors import StartError
from hypercorn_image.process import memory, wanted

SERVING = "Serving %s at %s, %d %s worker%s"
RELOAD_COMPLETE = "Reload complete; listening on %s"
NOT_USED = "%s received; ignored"
DRAINING = "%s; draining for %g s, then stopping"
STOPPED = "Stopped"
NO_PROCESSES = "%s received; WEB_CONCURRENCY=0 has no worker processes: restart the container"
NOT_RESIZED = "%s received; with QUIC_BIND only a reload (SIGHUP) changes the number of workers"
LOGS_REOPENED = "SIGUSR1 received; log files reopened"
LOG_NOT_REOPENED = "SIGUSR1 received; log file %s cannot be reopened: %s"
SILENT = "Worker (pid %d) does not respond: its event loop has been blocked for %g s"
RESPONDS = "Worker (pid %d) responds again"
NOT_STEERED = "The kernel does not steer QUIC packets (%s); restarting a worker breaks HTTP/3 connections of others"
NO_PLACE = "Only %d workers can serve HTTP/3 until the container is restarted; %d serve without it"
NOT_REFUSED = "The kernel does not keep new connections out while the server stops (%s); some may be reset"
QUIC_NOT_REFUSED = "The kernel does not keep new HTTP/3 connections from a worker that leaves (%s); some may fail"
_LOST = "Worker (pid %d) exited with %s while it was serving; restarting%s"


class Line(NamedTuple):
    """A line of the log: its level, its text and the values in it."""

    level: str
    text: str
    values: Tuple[Any, ...] = ()
    details: Optional[str] = None  # a traceback that is shown before it


def _in(seconds: float) -> str:
    return f" in {seconds:g} s" if seconds else ""


def _said(failure: StartError) -> str:
    return "; ".join(failure.lines)


def _died(note: wanted.Died) -> Line:
    if note.retry is None:
        return Line("error", "Worker (pid %d) exited with %s; its replacement is starting", (note.pid, note.how))
    return Line("error", _LOST, (note.pid, note.how, _in(note.retry)))


_LINES: Dict[Type[Any], Callable[[Any], Optional[Line]]] = {
    wanted.Started: lambda note: Line("info", "Worker (pid %d) started", (note.pid,)),
    wanted.StillStarting: lambda note: Line(
        "warning", "Worker (pid %d) is still starting after %g s", (note.pid, note.seconds)
    ),
    wanted.Replaced: lambda note: Line("info", "Worker (pid %d) replaces worker (pid %d)", (note.pid, note.old)),
    wanted.Restarting: lambda note: Line("info", "Worker (pid %d) %s; restarting", (note.pid, note.reason)),
    wanted.Died: _died,
    wanted.Left: lambda note: Line("debug", "Worker (pid %d) exited with %s", (note.pid, note.how)),
    wanted.FailedToStart: lambda note: Line(
        "error",
        "Worker failed to start: %s; retrying in %g s",
        (_said(note.failure), note.retry),
        note.failure.details,
    ),
    wanted.Resized: lambda note: Line("info", "%s; workers: %d", (note.reason, note.workers)),
    wanted.ReloadStarted: lambda note: Line(
        "info", "SIGHUP received; restarting %d worker%s", (note.workers, "" if note.workers == 1 else "s")
    ),
    wanted.ReloadFailed: lambda note: reload_failed(note.failure),
    wanted.Overdue: lambda note: Line(
        "warning", "Worker (pid %d) did not exit within GRACEFUL_TIMEOUT (%g s); killing", (note.pid, note.seconds)
    ),
    wanted.Stopping: lambda note: Line("info", "%s; stopping", (note.reason,)),
}


def line(note: wanted.Action) -> Optional[Line]:
    """Return the log line for a note; None if it has none."""
    made = _LINES.get(type(note))
    return made(note) if made is not None else None


def reload_failed(failure: StartError) -> Line:
    """Return the log line for a reload that failed."""
    return Line("error", "Reload failed, keeping current workers: %s", (_said(failure),), failure.details)


def status(known: wanted.Wanted, silent: Container[int], now: float) -> Iterator[Line]:
    """Yield the log lines of SIGUSR2; `silent` has the pids of the workers that do not respond."""
    workers = list(known.workers.values())
    serving = sum(worker.state is wanted.State.SERVING for worker in workers)
    yield Line(
        "info",
        "SIGUSR2 received; %d of %d workers serve, configuration %d",
        (serving, known.generation.workers, known.generation.number),
    )
    for worker in workers:
        state = "not responding" if worker.pid in silent else worker.state.value
        resident = memory.resident(worker.pid)
        yield Line(
            "info",
            "Worker (pid %d): %s, configuration %d, up %d s, %d MiB",
            (worker.pid, state, worker.generation.number, known.age(worker, now), (resident or 0) >> 20),
        )
