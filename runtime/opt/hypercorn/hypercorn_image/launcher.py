# SPDX-License-Identifier: MIT
"""The launcher: starts the server as the environment and the arguments say."""

import contextlib
import functools
import os
import sys
from typing import Any, Callable, Iterator, Sequence

from hypercorn_image import logs, upstream
from hypercorn_image.app import application
from hypercorn_image.config import effective
from hypercorn_image.errors import StartError, report
from hypercorn_image.listen import state
from hypercorn_image.listen.sockets import Listeners
from hypercorn_image.process import inherited
from hypercorn_image.worker import running
from hypercorn_image.worker.parent import Parent
from hypercorn_image.worker.worker import Loaded, Worker


def main(argv: Sequence[str]) -> int:
    """Serve with the server arguments `argv` until stopped; return the exit status."""
    directory = os.getcwd()
    if directory not in sys.path:
        sys.path.insert(0, directory)  # the application can be imported, whatever PYTHONPATH is

    def load() -> effective.Effective:
        found = effective.load(os.environ, argv, application.DIRECTORY)
        found.config.logger_class = logs.chosen(found.config, found.variables)
        running.before_fork(found.config, found.variables)
        return found

    try:
        return _serve(load)
    except StartError as error:
        return report(error)


def _serve(load: Callable[[], effective.Effective]) -> int:
    found = load()
    _warn_of_upstream(found)
    listeners = Listeners(found.config)
    listeners.open()
    try:
        with _pid_file(found.config.pid_path), _state_file() as note:
            if found.config.workers == 0:
                return _serve_alone(found, listeners, note)
            from hypercorn_image.process.children import Child
            from hypercorn_image.process.supervisor import Configuration, Supervisor

            loaded = None
            if found.variables.get("PRELOAD_APP"):
                loaded = _preload(found)

            def be_worker(child: Child, effective: effective.Effective, listeners: Listeners) -> int:
                if loaded is not None:
                    inherited.forget_finalizers()
                parent = Parent(child.sender, child.receiver)
                return running.run(Worker(effective, loaded, listeners, child.quic, parent))

            on_serving = functools.partial(_note_serving, note)
            first = Configuration(found, listeners)
            return Supervisor(first, load, be_worker, on_serving, note.silent, note.draining).run()
    finally:
        listeners.close()


def _warn_of_upstream(found: effective.Effective) -> None:
    """Log each assumption about Hypercorn and its dependencies that does not hold."""
    for line in upstream.missing(upstream.used(found.config, found.variables)):
        logger = found.config.log.error_logger  # not before: importing the application may silence loggers that exist
        if logger is not None:
            logger.warning(line)


def _preload(found: effective.Effective) -> Loaded:
    loaded = Loaded(*application.load(found.application))
    names = inherited.threads()
    if names and found.config.log.error_logger is not None:
        message = "PRELOAD_APP: importing %s started threads (%s); workers are forked without them"
        found.config.log.error_logger.warning(message, found.application, ", ".join(names))
    return loaded


def _serve_alone(found: effective.Effective, listeners: Listeners, note: state.Note) -> int:
    worker = Worker(found, None, listeners, listeners.open_quic())

    def started() -> None:
        _note_serving(note, found, listeners)
        where = listeners.describe()
        worker.log("info", "Serving %s at %s, in this process (%s)", found.application, where, worker.worker_class)

    worker.on_started, worker.on_draining = started, note.draining
    return running.run(worker)


@contextlib.contextmanager
def _pid_file(path: Any) -> Any:
    if path is None:
        yield
        return
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(str(os.getpid()))
    except OSError as error:
        raise StartError([f"PID_PATH={path!r} cannot be written: {error.strerror}"]) from None
    owner = os.getpid()
    try:
        yield
    finally:
        if os.getpid() == owner:
            with contextlib.suppress(OSError):
                os.remove(path)


@contextlib.contextmanager
def _state_file() -> Iterator[state.Note]:
    """Yield the note for the health check, and remove its file at the end."""
    owner = os.getpid()
    try:
        state.remove()
        yield state.Note()
    finally:
        if os.getpid() == owner:
            state.remove()


def _note_serving(note: state.Note, found: effective.Effective, listeners: Listeners) -> None:
    note.serves(state.lines(listeners.targets(), vars(found.config), found.variables))
