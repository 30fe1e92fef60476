"""The machine: what it is, how busy, which cores are whose, and how much processor time a session has used."""

from __future__ import annotations

import os
import platform
import re
import shutil
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def description() -> dict[str, object]:
    """Return what the figures depend on."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1),
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
    }


def load_average() -> float:
    """Return how many processes were running or wanted to, on average of the last minute."""
    return round(os.getloadavg()[0], 2)


def cores(workers: int) -> tuple[list[int], list[int]] | None:
    """Return the cores of a server and those of its client.

    The client has its own, where there are more than the server has workers. None where a machine cannot pin.
    """
    mine = sorted(os.sched_getaffinity(0))
    if shutil.which("taskset") is None or len(mine) < 2:
        return None
    return mine[:workers], mine[workers:] or mine


def pinned(command: list[str], to: list[int] | None) -> list[str]:
    """Return a command that runs on these cores only."""
    return ["taskset", "--cpu-list", ",".join(map(str, to)), *command] if to else command


def processor_time(session: int) -> float:
    """Return the seconds of processor time that the processes of a session have used."""
    return sum(ticks for sid, ticks in map(_session_and_ticks, _processes()) if sid == session) / TICK


def members(session: int) -> list[int]:
    """Return the processes of a session."""
    return [pid for pid in _processes() if _session_and_ticks(pid)[0] == session]


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _session_and_ticks(pid: int) -> tuple[int, int]:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended since
        return -1, 0
    return (int(fields[3]), int(fields[11]) + int(fields[12])) if fields[0] != "Z" else (-1, 0)
