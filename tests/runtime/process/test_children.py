"""Forking workers, in a program of its own: as the supervisor does it, with the supervisor's handlers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess

import pytest

from tests.runtime.server import LIMIT, RUNTIME

ENDED_AT_ONCE = """
import os, signal, sys, time
sys.path.append(sys.argv[1])
from hypercorn_image.process.children import Child
signal.signal(signal.SIGTERM, lambda number, frame: None)
for _ in range(20):
    child = Child.fork(0, 0, [], lambda one: time.sleep(600))
    child.leave(600, last=True, starting=True)
    _, status = os.waitpid(child.pid, 0)
    assert os.WTERMSIG(status) == signal.SIGTERM
    child.close()
assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])
"""


@pytest.mark.every_python
def test_a_worker_that_is_told_to_leave_right_after_its_fork_does(python: str) -> None:
    command = [python, "-c", ENDED_AT_ONCE, str(RUNTIME / "opt/hypercorn")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True) as process:
        try:
            output, _ = process.communicate(timeout=LIMIT)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output.decode()
