"""`python /opt/hypercorn/serve.py [server arguments]`: what /start.sh becomes."""

import os
import sys

sys.path[:] = [entry for entry in sys.path if entry != os.path.dirname(os.path.abspath(__file__))]
sys.path.append(os.path.dirname(os.path.abspath(__file__)))

from hypercorn_image.launcher import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
