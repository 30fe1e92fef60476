"""`python /opt/hypercorn/serve.py [--reloading] [server arguments]`: what /start.sh and /start-reload.sh become."""

import os
import signal
import sys

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
# By default each ends or halts a process that is not PID 1.
OTHERS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)


def _listen_to_signals() -> None:
    """Act on a stop from now on, before anything else is imported. Until now /start.sh has kept it blocked."""
    for number in STOPS:
        signal.signal(number, lambda number, frame: os._exit(0))  # nothing is served yet
    for number in OTHERS:
        signal.signal(number, lambda number, frame: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


if __name__ == "__main__":
    _listen_to_signals()
    here = os.path.dirname(os.path.abspath(__file__))
    # Python put this folder first; the application's come first.
    sys.path[:] = [entry for entry in sys.path if entry != here] + [here]
    if sys.argv[1:2] == ["--reloading"]:
        from hypercorn_image import reload

        sys.exit(reload.main(sys.argv[2:]))
    from hypercorn_image import launcher

    sys.exit(launcher.main(sys.argv[1:]))
