"""What a killed run leaves of its stand-in for BuildKit, and what the next one removes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagematrix.machine import buildkit_standin, processes
from imagematrix.machine.buildkit_standin import StandIn, remove_orphans

BUILDX = [
    sys.executable,
    "-c",
    "import os, sys; open(os.environ['ASKED'], 'a').write(' '.join(sys.argv[1:]) + chr(10))",
]
CLAIM = "import sys; from imagematrix.machine.buildkit_standin import StandIn; StandIn(sys.argv[1]).claim()"


@pytest.fixture(autouse=True)
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own; returns the file in which the played buildx notes what it is asked."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    (tmp_path / "asked").touch()
    return tmp_path / "asked"


@pytest.fixture
def daemon() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def recorded(one: StandIn, daemon: subprocess.Popen[bytes]) -> None:
    processes.note(one.folder / "dockerd.json", daemon.pid)


def test_what_a_killed_run_left_is_ended_and_removed(asked: Path, daemon: subprocess.Popen[bytes]) -> None:
    one = StandIn("left")
    subprocess.run([sys.executable, "-c", CLAIM, "left"], check=True)
    recorded(one, daemon)
    remove_orphans(BUILDX)
    assert daemon.wait(60) == -15
    assert not one.folder.exists()
    assert asked.read_text() == "rm left\n"


def test_one_that_does_not_end_is_killed_and_gone_before_its_network(monkeypatch: pytest.MonkeyPatch) -> None:
    one = StandIn("deaf")
    command = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    alive = list[bool]()
    with subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE) as daemon:
        assert daemon.stdout and daemon.stdout.readline()
        process = processes.of(daemon.pid)
        recorded(one, daemon)
        monkeypatch.setattr(buildkit_standin, "STOP_LIMIT", 1.0)
        monkeypatch.setattr(StandIn, "_network", lambda one, verb: alive.append(process.is_alive()))
        one.stop()
    assert (daemon.returncode, alive) == (-9, [False])


@pytest.mark.parametrize("claimed", [True, False], ids=["of a run that goes on", "started for good"])
def test_another_one_stays(asked: Path, daemon: subprocess.Popen[bytes], claimed: bool) -> None:
    one = StandIn("other")
    if claimed:
        one.claim()
        assert processes.noted(one.folder / "owner.json") == processes.of(os.getpid())
    recorded(one, daemon)
    remove_orphans(BUILDX)
    assert daemon.poll() is None
    assert one.folder.exists()
    assert asked.read_text() == ""
