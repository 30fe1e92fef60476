"""With PRELOAD_APP: what a worker must not run of the parent, in which the application was imported.

A worker that ends would run the parent's exit handlers and finalizers: a `tempfile.TemporaryDirectory` of the
application's module would be gone for everybody at the first replacement. They are the parent's to run, once.
"""

import atexit
import logging
import threading
from typing import List

from hypercorn_image import upstream


def threads() -> List[str]:
    """Return the names of threads other than the main one: a fork does not take them along."""
    return [one.name for one in threading.enumerate() if one is not threading.main_thread()]


def forget_finalizers() -> None:
    """In a worker just forked: forget the exit handlers and finalizers of the parent. Those made later are kept."""
    upstream.forget_finalizers()
    atexit.register(logging.shutdown)  # it was the parent's
