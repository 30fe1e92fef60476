"""Workers whose ends are noticed at the same moment."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.runtime.launching import Launch
from tests.runtime.server import wait_for


def has_ended(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_it_is_said_why_when_all_workers_fail_at_the_same_moment(server: Launch) -> None:
    with server(WEB_CONCURRENCY=2, LIFESPAN="fail", IMPORT_SECONDS=2) as one:
        children = one.wait_events("imported", 2)
        one.kill(signal.SIGSTOP)
        for child in children:
            wait_for(lambda pid=child: has_ended(pid), f"end of {child}")
        one.kill(signal.SIGCONT)
        assert one.wait() == 1
        assert "failed to start: the database is away" in one.log
