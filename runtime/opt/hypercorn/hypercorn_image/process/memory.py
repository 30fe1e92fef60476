# SPDX-License-Identifier: MIT
"""The memory of a process, as the kernel counts it."""

import os
from typing import Optional


def resident(pid: int) -> Optional[int]:
    """Return the resident memory of a process in bytes, shared pages included; None if it has ended."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
