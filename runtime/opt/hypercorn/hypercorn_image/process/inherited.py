# SPDX-License-Identifier: MIT
"""Drops what a worker must not inherit with PRELOAD_APP: exit handlers and finalizers of the application.

They were made in the parent, and a worker that exits would run them: a `tempfile.TemporaryDirectory` of the
application's module would vanish for all at the first replacement. Only the parent runs them, once.
"""

import atexit
import logging
import threading
from typing import List

from hypercorn_image import upstream


def threads() -> List[str]:
    """Return the names of all threads but the main one: a forked process does not have them."""
    return [one.name for one in threading.enumerate() if one is not threading.main_thread()]


def forget_finalizers() -> None:
    """Drop the parent's exit handlers and finalizers, in a worker just forked. Later ones are kept."""
    upstream.forget_finalizers()
    atexit.register(logging.shutdown)  # it was among them
