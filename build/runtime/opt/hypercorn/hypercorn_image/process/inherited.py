"""With PRELOAD_APP: what a worker must not run of the parent, in which the application was imported.

A worker that ends would run the parent's exit handlers and finalizers: a `tempfile.TemporaryDirectory` of the
application's module would be gone for everybody at the first replacement. They are the parent's to run, once.
"""

import atexit
import logging
import threading
import weakref
from typing import List


def threads() -> List[str]:
    """Return the names of threads other than the main one: a fork does not take them along."""
    return [one.name for one in threading.enumerate() if one is not threading.main_thread()]


def forget_finalizers() -> None:
    """In a worker just forked: forget the exit handlers and finalizers of the parent. Those made later are kept.

    Neither module has a public list of them. Where one looks different, its finalizers run in every worker, as before.
    """
    getattr(atexit, "_clear", lambda: None)()
    for finalizer in list(getattr(weakref.finalize, "_registry", ())):
        finalizer.detach()
    # Both were registered at the first use, which was the parent's.
    if hasattr(weakref.finalize, "_registered_with_atexit"):
        weakref.finalize._registered_with_atexit = False
    atexit.register(logging.shutdown)
