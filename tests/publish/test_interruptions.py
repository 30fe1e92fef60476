"""Whatever goes wrong while publishing: nothing is half tagged, others are not held up, and the next run completes.

Each test publishes to a namespace of its own, where nothing is yet. The layers are in the builder's cache.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.publish.conftest import RUN, TAG, Repository
from tests.publish.registry import HANGS_UP, Registry, Request

pytestmark = pytest.mark.xdist_group("publish")
ONE = ("--image", "hypercorn", "--unsigned", "--date", "20261122")


def is_blob(request: Request) -> bool:
    return request.method in ("POST", "PATCH", "PUT") and "/blobs/" in request.path


def is_index(request: Request) -> bool:
    return request.method == "PUT" and "/manifests/sha256:" in request.path


def is_dated_tag(request: Request) -> bool:
    return request.tag == f"{TAG}-20261122"


def is_moving_tag(request: Request) -> bool:
    return request.tag == TAG


def completes(there: Repository) -> None:
    """What every interrupted publication must do when it is run again."""
    digests = there.published(*ONE)
    assert len(there.tags()) == 3
    assert set(there.tags().values()) == set(digests.values())
    assert {action for action, _ in there.plan("--tag", TAG, "--image", "hypercorn").values()} == {"keep"}


@pytest.mark.parametrize(
    ("when", "status"),
    [(is_blob, 500), (is_index, HANGS_UP), (is_dated_tag, 500), (is_moving_tag, HANGS_UP)],
    ids=["a layer", "the index", "the dated tag", "the moving tag"],
)
def test_a_registry_that_fails(repository: Repository, when: Callable[[Request], bool], status: int) -> None:
    there = repository.elsewhere(f"fails-{when.__name__.replace('_', '-')}-{status}")
    repository.registry.fault = lambda request: status if when(request) else None
    done = there.push(*ONE)
    assert done.status == 1
    assert "left behind: hypercorn:" in done.errors
    assert TAG not in there.tags()
    repository.registry.fault = lambda request: None
    completes(there)


def test_a_registry_that_goes_down(repository: Repository) -> None:
    there = repository.elsewhere("down")

    def fault(request: Request) -> int | None:
        if is_index(request) and repository.registry.process:
            repository.registry.stop()
        return None

    repository.registry.fault = fault
    done = there.push(*ONE)
    assert done.status == 1
    assert [row["status"] for row in done.rows] == ["failed"]
    repository.registry.fault = lambda request: None
    repository.registry.start()
    assert there.tags() == {}
    completes(there)


@pytest.mark.parametrize("when", [is_index, is_moving_tag], ids=["before the index", "before the moving tag"])
def test_a_run_that_is_killed(repository: Repository, when: Callable[[Request], bool]) -> None:
    there = repository.elsewhere(f"killed-{when.__name__.replace('_', '-')}")
    reached, go_on = threading.Event(), threading.Event()

    def fault(request: Request) -> int | None:
        if when(request) and not go_on.is_set():
            reached.set()
            go_on.wait(60)
            return HANGS_UP
        return None

    repository.registry.fault = fault
    command = [sys.executable, "-m", "imagematrix.push", "--root", str(there.root), "--allow-stand-ins", "--tag", TAG]
    with subprocess.Popen(
        [*command, *ONE], env=there.environment, cwd=there.root, start_new_session=True, stderr=subprocess.DEVNULL
    ) as process:
        assert reached.wait(120)
        os.killpg(process.pid, signal.SIGKILL)
    go_on.set()
    assert TAG not in there.tags()
    completes(there)


def test_one_failure_does_not_hold_up_the_others(repository: Repository) -> None:
    there = repository.elsewhere("others")
    repository.registry.fault = lambda request: 500 if request.tag and "/hypercorn/" in request.path else None
    done = there.push("--unsigned", "--date", "20261122")
    assert done.status == 1
    assert {row["variant"].partition(":")[0]: row["status"] for row in done.rows} == {
        "hypercorn": "failed",
        "hypercorn-fastapi": "pushed",
    }
    assert f"left behind: hypercorn:{TAG};" in done.errors
    assert there.tags("hypercorn") == {}
    assert len(there.tags("hypercorn-fastapi")) == 3
    repository.registry.fault = lambda request: None
    assert [row["status"] for row in there.push("--unsigned", "--date", "20261122").rows] == ["pushed", "current"]


@pytest.fixture
def small_disk(repository: Repository, tmp_path: Path) -> Iterator[Registry]:
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


def test_a_disk_that_is_full(repository: Repository, small_disk: Registry) -> None:
    there = Repository(
        repository.root, small_disk, {**repository.environment, "REGISTRY": f"{small_disk.address}/small"}
    )
    done = there.push(*ONE)
    assert done.status == 1
    assert there.tags() == {}
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk.folder)], check=True)
    completes(there)
