"""A run that is killed, or loses its registry, or finds no room: nothing is half tagged, and the next one completes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.publish.loopback.conftest import ONE, RUN, TAG, Repository, is_moving_tag
from tests.publish.loopback.registry import HANGS_UP, Registry, Request, is_index


@pytest.mark.parametrize("when", [is_index, is_moving_tag], ids=["before the index", "before the moving tag"])
def test_a_run_that_is_killed(small: Repository, when: Callable[[Request], bool], tmp_path: Path) -> None:
    there = small.elsewhere(f"killed-{when.__name__.replace('_', '-')}")
    reached, go_on = threading.Event(), threading.Event()

    def fault(request: Request) -> int | None:
        if when(request) and not go_on.is_set():
            reached.set()
            go_on.wait(60)
            return HANGS_UP
        return None

    small.registry.fault = fault
    command = [
        sys.executable,
        "-m",
        "imagematrix.publish.push",
        "--root",
        str(there.root),
        "--allow-stand-ins",
        "--tag",
        TAG,
    ]
    with subprocess.Popen(
        [*command, *ONE],
        env={**there.environment, "TMPDIR": str(tmp_path)},  # what it leaves there goes with the test's own
        cwd=there.root,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert reached.wait(120)
        os.killpg(process.pid, signal.SIGKILL)
    go_on.set()
    assert TAG not in there.tags()
    there.completes(*ONE)


def test_a_registry_that_goes_down(small: Repository) -> None:
    there = small.elsewhere("down")

    def fault(request: Request) -> int | None:
        if is_index(request) and small.registry.process:
            small.registry.stop()
        return None

    small.registry.fault = fault
    done = there.push(*ONE)
    assert done.status == 1
    assert [row["status"] for row in done.rows] == ["failed"]
    small.registry.fault = lambda request: None
    small.registry.start()
    assert there.tags() == {}
    there.completes(*ONE)


@pytest.fixture
def small_disk(small: Repository, tmp_path: Path) -> Iterator[Registry]:
    """A registry on a disk of 4 MB."""
    if os.geteuid() != 0:
        pytest.skip("a small disk is a mount, which needs root")
    folder = tmp_path / f"disk-{RUN}"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=True)
    one = Registry(folder)
    one.start()
    yield one
    one.close()
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full(small: Repository, small_disk: Registry) -> None:
    there = Repository(small.root, small_disk, {**small.environment, "REGISTRY": f"{small_disk.address}/small"})
    done = there.push(*ONE)
    assert done.status == 1
    assert there.tags() == {}
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk.folder)], check=True)
    there.completes(*ONE)
