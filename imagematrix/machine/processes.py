"""Processes that were started here and outlive the command that started them, as /proc describes them."""

import json
import os
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from imagematrix.writing import write_whole


@dataclass(frozen=True)
class Process:
    """A process. The time of its start tells it from a later one with the same number."""

    pid: int
    start_time: int | None  # in clock ticks since boot

    def is_alive(self) -> bool:
        """Say whether this very process still runs."""
        return process_name(self.pid) is not None and self == of(self.pid)

    def end(self, limit: float, number: int = signal.SIGTERM) -> bool:
        """Send it a signal and wait at most `limit` seconds; say whether it has ended."""
        os.kill(self.pid, number)
        deadline = time.monotonic() + limit
        while self.is_alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True


def of(pid: int) -> Process:
    """Return the process that has this number now."""
    fields = _stat(pid)
    return Process(pid, int(fields[20]) if fields else None)


def start(command: list[str], log: Path, note_path: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a process that outlives this one and its Ctrl-C, and note which one it is. Its output goes to a log."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd="/",
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    note(note_path, process.pid)
    return process


def note(path: Path, pid: int) -> None:
    """Write down which process it is."""
    write_whole(path, json.dumps(asdict(of(pid))).encode())


def noted(path: Path) -> Process | None:
    """Return the process of a note, None if it has ended or the note is missing or damaged."""
    try:
        data = json.loads(path.read_bytes())
        process = Process(int(data["pid"]), int(data["start_time"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return process if process.is_alive() else None


def process_name(pid: int) -> str | None:
    """Return the name of a running process, None if there is none or it is dead and only not yet reaped."""
    fields = _stat(pid)
    return None if fields is None or fields[1] in "ZX" else fields[0]


def _stat(pid: int) -> list[str] | None:
    """Return the name, the state and the further fields of /proc/PID/stat (see proc(5))."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    before, _, after = text.rpartition(")")
    return [before.partition("(")[2], *after.split()]
