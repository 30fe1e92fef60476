"""Who is silent: by numbers alone, and with workers whose event loops hang."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypercorn_image.listen import state
from hypercorn_image.process import channel
from hypercorn_image.process.heartbeat import INTERVAL, LIMIT, Heartbeats

from tests.runtime.launching import every_class
from tests.runtime.server import RUNTIME, connect, launch, wait_for
from tests.runtime.test_scripts import check

ONE, TWO = 11, 12


def look(heartbeats: Heartbeats, begin: float, seconds: float, *beating: int, step: float = INTERVAL) -> set[int]:
    """Look from `begin` on, each `step`, for so many seconds; return who is silent then."""
    silent = heartbeats.silent([ONE, TWO], begin)
    now = begin
    while now < begin + seconds:
        now += step
        for pid in beating:
            heartbeats.beat(pid)
        silent = heartbeats.silent([ONE, TWO], now)
    return silent


def test_a_worker_is_silent_after_the_limit_and_not_before() -> None:
    heartbeats = Heartbeats()
    assert look(heartbeats, 1000, LIMIT, ONE) == set()
    assert look(heartbeats, 1000 + LIMIT, 2, ONE) == {TWO}
    assert look(heartbeats, 1002 + LIMIT, 1, ONE, TWO) == set(), "it beats again"


def test_many_looks_make_nobody_silent_earlier() -> None:
    assert look(Heartbeats(), 1000, LIMIT - 1, ONE, step=0.01) == set()


@pytest.mark.parametrize("jump", [3600.0, -3600.0], ids=["paused", "clock set back"])
def test_time_in_which_the_parent_did_not_run_does_not_count(jump: float) -> None:
    heartbeats = Heartbeats()
    assert look(heartbeats, 5000, LIMIT / 2, ONE, TWO) == set()
    assert heartbeats.silent([ONE, TWO], 5000 + LIMIT / 2 + jump) == set()
    assert look(heartbeats, 5000 + LIMIT / 2 + jump, LIMIT / 2) == set()


def test_a_busy_machine_makes_nobody_silent() -> None:
    """The parent looks only every 20 s, and a beat is as late."""
    heartbeats = Heartbeats()
    for now in range(1000, 3000, 20):
        assert heartbeats.silent([ONE], now) == set()
        if now % 40 == 0:
            heartbeats.beat(ONE)


def test_a_worker_that_has_gone_is_forgotten() -> None:
    heartbeats = Heartbeats()
    assert look(heartbeats, 1000, LIMIT + 2, ONE) == {TWO}
    assert heartbeats.silent([ONE], 1100) == set()
    assert heartbeats.silent([ONE, TWO], 1101) == set(), "another one with its pid begins anew"


def test_a_parent_that_does_not_read_blocks_no_worker() -> None:
    reading, writing = os.pipe()
    sender, receiver = channel.Sender(writing), channel.Receiver(reading)
    for _ in range(10_000):
        sender.send_if_room(channel.ALIVE)
    assert {message["what"] for message in receiver.receive()} == {channel.ALIVE}
    receiver.close()
    sender.send_if_room(channel.ALIVE)
    sender.close()


def test_the_note_is_written_only_when_the_number_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    note, path = state.Note(), tmp_path / f"hypercorn-image-{os.getuid()}"
    note.silent(1, 2)
    assert not path.exists(), "it does not serve yet"
    note.serves(["tcp\t127.0.0.1\t80"])
    assert path.read_text().splitlines() == ["tcp\t127.0.0.1\t80", "silent\t1", "workers\t2"]
    first = path.stat().st_ino
    note.silent(1, 2)
    assert path.stat().st_ino == first
    note.silent(0, 2)
    assert path.read_text().splitlines() == ["tcp\t127.0.0.1\t80"]


@every_class
def test_the_health_check_tells_of_one_worker_that_hangs(python: str, tmp_path: Path, worker_class: str) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/sitecustomize.py").write_text(f"""
import sys
sys.path.append({str(RUNTIME / "opt/hypercorn")!r})
from hypercorn_image.process import heartbeat
heartbeat.Heartbeats.limit = 3.0
""")
    environ = {"APP_MODULE": "main:hang", "WORKER_CLASS": worker_class}
    with launch(python, tmp_path / "app", environ=environ) as one:
        one.serving()
        assert check(python, one.directory) == (0, "")
        with connect(one.address) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            (pid,) = one.wait_events("hanging", 1)
            one.wait_log(f"Worker (pid {pid}) does not respond: its event loop has been blocked for 3 s")
            unhealthy = (1, "unhealthy: 1 of 2 workers does not respond\n")
            wait_for(lambda: check(python, one.directory) == unhealthy, "word of it", lambda: one.log)
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: check(python, one.directory) == (0, ""), "a healthy server", lambda: one.log)
        assert one.stop() == 0
        assert "Traceback" not in one.log
