"""Of Python's own library."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from hypercorn.config import Config
from hypercorn_image import upstream

RUNTIME = next(path for path in sys.path if path.endswith("runtime/opt/hypercorn"))
FORGETS = """
import atexit, sys, weakref
sys.path.append({!r})
from hypercorn_image import upstream
class Thing: pass
old, new = Thing(), Thing()
atexit.register(print, "old handler")
weakref.finalize(old, print, "old finalizer")
upstream.forget_finalizers()
atexit.register(print, "new handler")
weakref.finalize(new, print, "new finalizer")
"""


@pytest.mark.holds("python-finalizers")
def test_python_forgets_the_handlers_and_finalizers_so_far_and_runs_later_ones() -> None:
    done = subprocess.run([sys.executable, "-c", FORGETS.format(RUNTIME)], check=True, capture_output=True, text=True)
    assert sorted(done.stdout.splitlines()) == ["new finalizer", "new handler"]


@pytest.mark.holds("python-loggers")
def test_python_makes_a_logger_again_that_was_forgotten() -> None:
    first = logging.getLogger("hypercorn.access")
    first.disabled = True
    upstream.forget_loggers(Config())
    again = logging.getLogger("hypercorn.access")
    assert again is not first
    assert not again.disabled
