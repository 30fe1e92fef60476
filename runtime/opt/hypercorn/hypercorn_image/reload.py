# SPDX-License-Identifier: MIT
"""The reloader for development: one asyncio worker, restarted when a Python file below the working directory changes.

Unlike in Hypercorn's reloader, the process that watches does not import the application. An error in the code ends the
worker and not the container, and the next save starts another worker. No configuration file is read.
"""

import contextlib
import os
import select
import signal
import sys
import time
from typing import Any, Dict, List, Optional, Sequence, Tuple

from hypercorn_image import logs
from hypercorn_image.app import application
from hypercorn_image.config import arguments, options, settings
from hypercorn_image.config.effective import Effective
from hypercorn_image.config.problems import Problems
from hypercorn_image.errors import StartError, report
from hypercorn_image.listen.sockets import Listeners
from hypercorn_image.process import channel
from hypercorn_image.process.children import Child
from hypercorn_image.process.endings import how_ended
from hypercorn_image.worker import running
from hypercorn_image.worker.parent import Parent
from hypercorn_image.worker.worker import Worker

INTERVAL = 0.25  # seconds between two checks of the files
STOP_SECONDS = 2.0  # what requests in progress get when the code has changed
_SKIPPED = {"__pycache__", "node_modules", "site-packages"}
_USED = (
    "MODULE_NAME",
    "VARIABLE_NAME",
    "APP_MODULE",
    "HOST",
    "TCP_PORT",
    "PORT",
    "LOG_LEVEL",
    "LOG_FORMAT",
    "ROOT_PATH",
    "HEALTHCHECK_PATH",
    "ACCESS_LOG_SKIP",
)

Stamp = Tuple[int, int]


def main(argv: Sequence[str]) -> int:
    """Serve and reload until stopped; return the exit status."""
    directory = os.getcwd()
    if directory not in sys.path:
        sys.path.insert(0, directory)
    try:
        effective = configure(os.environ, argv)
        listeners = Listeners(effective.config)
        listeners.open()
    except StartError as error:
        return report(error)
    try:
        return Reloader(effective, listeners, directory).run()
    finally:
        listeners.close()


def configure(environ: Any, argv: Sequence[str]) -> Effective:
    """Return the configuration; raises StartError with all problems."""
    from hypercorn.config import Config

    problems = Problems()
    variables = options.read_environment({name: environ[name] for name in _USED if name in environ}, problems)
    given = arguments.read(argv, problems)
    variables.update(given)
    path, missing = application.locate(variables, application.DIRECTORY)
    if missing:
        problems.add("APP_MODULE", missing)
    if problems.lines:
        raise StartError(problems.lines)
    config = Config.from_mapping(
        accesslog="-",
        errorlog="-",
        workers=1,
        worker_class="asyncio",
        graceful_timeout=STOP_SECONDS,
        loglevel=variables.get("LOG_LEVEL", "info"),
        root_path=variables.get("ROOT_PATH", ""),
        bind=[settings.address(variables.get("HOST", "0.0.0.0"), variables.get("TCP_PORT", variables.get("PORT", 80)))],
    )
    for variable, value in given.items():
        option = options.BY_VARIABLE[variable].option
        if option is not None and option not in ("workers", "worker_class"):
            setattr(config, option, value)
    config.logger_class = logs.chosen(config, variables)
    return Effective(config, path, variables, "")


def snapshot(directory: str) -> Dict[str, Stamp]:
    """Return modification time and size of every Python file below `directory`."""
    found: Dict[str, Stamp] = {}
    for parent, directories, files in os.walk(directory):
        directories[:] = [
            name
            for name in directories
            if name not in _SKIPPED
            and not name.startswith(".")
            and not os.path.exists(os.path.join(parent, name, "pyvenv.cfg"))
        ]
        for name in files:
            if name.endswith(".py"):
                path = os.path.join(parent, name)
                try:
                    status = os.stat(path)
                except OSError:
                    continue  # an editor's temporary file
                found[path] = (status.st_mtime_ns, status.st_size)
    return found


class Reloader:
    """Watches the files and keeps one worker."""

    def __init__(self, effective: Effective, listeners: Listeners, directory: str) -> None:
        self.effective, self.listeners, self.directory = effective, listeners, directory
        self.child: Optional[Child] = None
        self.ready = False  # whether it serves
        self.stopping = False

    def run(self) -> int:
        """Run until SIGTERM, SIGINT or SIGQUIT; return the exit status, 0."""
        wake, write = os.pipe()
        for descriptor in (wake, write):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(write)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, lambda number, frame: setattr(self, "stopping", True))
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        running.runner("asyncio")
        seen = snapshot(self.directory)
        self._start()
        while not self.stopping:
            select.select([wake, *self._descriptors()], [], [], INTERVAL)
            self._drain(wake)
            self._look_after()
            now = snapshot(self.directory)
            if now != seen:
                self._say("info", "Detected changes in %s; reloading", ", ".join(_changed(seen, now, self.directory)))
                seen = now
                self._end()
                self._start()
        self._end()
        return 0

    def _descriptors(self) -> List[int]:
        child = self.child
        return [] if child is None or child.receiver.ended else [child.receiver.descriptor]

    def _drain(self, wake: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(wake, 4096)

    def _say(self, level: str, message: str, *args: Any) -> None:
        getattr(self.effective.config.log.error_logger, level)(message, *args)

    def _start(self) -> None:
        def be_worker(child: Child) -> int:
            parent = Parent(child.sender, child.receiver)
            return running.run(Worker(self.effective, None, self.listeners, [], parent))

        self.ready = False
        self.child = Child.fork(0, 0, [], be_worker)

    def _look_after(self) -> None:
        """Act on the worker's messages and its end. An error is shown, and the next save starts another worker."""
        child = self.child
        if child is None:
            return
        # The end of its pipe does not tell: processes that it has started may hold it open. This comes before the
        # messages, so that none is missed.
        ended, status = os.waitpid(child.pid, os.WNOHANG)
        for message in child.receiver.receive():
            if message["what"] == channel.READY:
                self.ready = True
                self._say(
                    "info",
                    "Serving %s at %s, reloading on changes below %s",
                    self.effective.application,
                    self.listeners.describe(),
                    self.directory,
                )
            elif message["what"] == channel.FAILED:
                report(StartError(message["lines"], message["details"]))
        if ended:
            child.close()
            self.child = None
            self._say("error", "Worker exited with %s; waiting for changes", how_ended(status))

    def _end(self) -> None:
        """Stop the worker gracefully; kill it when it takes too long."""
        child = self.child
        if child is None:
            return
        child.leave(STOP_SECONDS, last=True, starting=not self.ready)
        kill_at = time.monotonic() + (STOP_SECONDS if self.ready else 0.5)
        while True:
            done, _ = os.waitpid(child.pid, os.WNOHANG)
            if done:
                break
            if time.monotonic() > kill_at:
                child.kill()
            time.sleep(0.01)
        child.close()
        self.child = None


def _changed(before: Dict[str, Stamp], after: Dict[str, Stamp], directory: str) -> List[str]:
    names = [path for path in sorted(before.keys() | after.keys()) if before.get(path) != after.get(path)]
    return [os.path.relpath(path, directory) for path in names[:3]] + (["…"] if len(names) > 3 else [])
