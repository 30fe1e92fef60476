"""The memory of a process, as the kernel counts it."""

import os
from typing import Optional


def resident(pid: int) -> Optional[int]:
    """Return how many bytes of memory a process has, shared ones too; None of one that has ended."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
