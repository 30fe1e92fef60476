"""What /proc says of a process: its name, and when it started."""

from __future__ import annotations

from pathlib import Path


def process_name(pid: int) -> str | None:
    """Return the name of a running process, None if there is none or it is dead and only not yet reaped."""
    fields = _stat(pid)
    return None if fields is None or fields[1] in "ZX" else fields[0]


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot."""
    fields = _stat(pid)
    return None if fields is None else int(fields[20])


def _stat(pid: int) -> list[str] | None:
    """Return the name, the state and the further fields of /proc/PID/stat (see proc(5))."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    before, _, after = text.rpartition(")")
    return [before.partition("(")[2], *after.split()]
