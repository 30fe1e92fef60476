"""The launcher: from environment and arguments to a running server; what `/start.sh` ends in."""

import os
import signal
import sys
from typing import Any, Sequence

from hypercorn_image import application, effective, logs, worker
from hypercorn_image.errors import StartError, report
from hypercorn_image.sockets import Listeners


def main(argv: Sequence[str]) -> int:
    """Serve with the server arguments `argv` until stopped; return the exit status."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: os._exit(0))  # nothing is served yet
    directory = os.getcwd()
    if directory not in sys.path:
        sys.path.insert(0, directory)

    def load() -> effective.Effective:
        loaded = effective.load(os.environ, argv, application.DIRECTORY)
        loaded.config.logger_class = logs.chosen(loaded.config, loaded.variables)
        return loaded

    try:
        return _serve(load)
    except StartError as error:
        return report(error)


def _serve(load: Any) -> int:
    found = load()
    listeners = Listeners(found.config)
    listeners.open()
    try:
        if found.config.workers == 0:
            one = worker.Worker(found.config, found.variables, None)
            listeners.adopt(one.config, listeners.open_quic())
            return worker.run(one)
        from hypercorn_image.supervisor import Supervisor

        return Supervisor(found, listeners, load).run()
    finally:
        listeners.close()
