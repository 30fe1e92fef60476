"""`python /opt/hypercorn/serve.py [--reloading] [server arguments]`: what /start.sh and /start-reload.sh become."""

import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))
# Python put this folder first; the application's come first.
sys.path[:] = [entry for entry in sys.path if entry != _here] + [_here]

if __name__ == "__main__":
    if sys.argv[1:2] == ["--reloading"]:
        from hypercorn_image import reload

        sys.exit(reload.main(sys.argv[2:]))
    from hypercorn_image import launcher

    sys.exit(launcher.main(sys.argv[1:]))
