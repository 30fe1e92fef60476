# SPDX-License-Identifier: MIT
"""Starts the server, or with `--reloading` the reloader: what /start.sh and /start-reload.sh become.

`python serve.py [--reloading] [server arguments]`
"""

import os
import signal
import sys

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
# Without a handler, each of them ends or stops a process that is not PID 1.
OTHERS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)


def _listen_to_signals() -> None:
    """Handle a stop from now on, before anything else is imported. Until now it was blocked, since /start.sh."""
    for number in STOPS:
        signal.signal(number, lambda number, frame: os._exit(0))  # nothing is served yet
    for number in OTHERS:
        signal.signal(number, lambda number, frame: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


if __name__ == "__main__":
    _listen_to_signals()
    here = os.path.dirname(os.path.abspath(__file__))
    # Python has put this directory first. Those of the application go before it.
    sys.path[:] = [entry for entry in sys.path if entry != here] + [here]
    if sys.argv[1:2] == ["--reloading"]:
        from hypercorn_image import reload

        sys.exit(reload.main(sys.argv[2:]))
    from hypercorn_image import launcher

    sys.exit(launcher.main(sys.argv[1:]))
