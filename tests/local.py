"""What tests take from the machine they run on: ports and programs."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import socket
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from imagematrix.errors import UserError
from imagematrix.machine import apt

SCRIPTS = Path(sysconfig.get_path("scripts"))
"""The folder of the programs that requirements.txt installs."""


def _ports() -> Iterator[int]:
    """Give this process of pytest-xdist's every N-th port of those that are not given to who connects.

    The others take theirs at the same time, and each binds its own later than it asks. The beginning is by chance for
    the sake of other runs.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    mine = range(20000 + worker, 32000, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    start = random.randrange(len(mine))
    return itertools.cycle([*mine[start:], *mine[:start]])


_PORTS = _ports()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody has, and that no other test will be given."""
    return next(filter(_is_free, _PORTS))


def _is_free(port: int) -> bool:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp, suppress(OSError):
        tcp.bind(("127.0.0.1", port))
        udp.bind(("127.0.0.1", port))
        return True
    return False


def need(program: str, package: str) -> None:
    """Have a program of a Debian package on this machine, or skip the test and say why."""
    if shutil.which(program) is None:
        try:
            apt.install_packages([package], "the tests")
        except UserError as error:
            pytest.skip(str(error))
