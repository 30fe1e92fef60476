# SPDX-License-Identifier: MIT
"""Counts the cores that this container may use: CPU affinity and the cgroup's CPU quota, version 1 and 2.

The host's count is of no use: a container with `--cpus 2` that starts 64 workers is slow, or killed for its memory.
"""

import math
import os
from typing import Optional

from hypercorn_image.config.cgroup import ancestors, group, read


def available(root: str = "/") -> int:
    """Return how many cores may be used, at least 1.

    `root` is the directory that has `proc/` and `sys/`; tests use another one.
    """
    cores = _affinity()
    quota = cpu_quota(root)
    if quota is not None:
        # A quota of 1.5 cores keeps two workers busy for three quarters of the time; one would waste half a core.
        cores = min(cores, math.ceil(quota))
    return max(1, cores)


def _affinity() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return os.cpu_count() or 1


def cpu_quota(root: str = "/") -> Optional[float]:
    """Return the smallest CPU quota of this process's cgroup and its ancestors, in cores; None when there is none."""
    quotas = [quota for quota in (_version_2(root), _version_1(root)) if quota is not None]
    return min(quotas) if quotas else None


def _version_2(root: str) -> Optional[float]:
    found = []
    for directory in ancestors(os.path.join(root, "sys/fs/cgroup"), group(root, "")):
        quota, _, period = read(directory, "cpu.max").partition(" ")
        found.append(_cores(quota, period))
    return min((value for value in found if value is not None), default=None)


def _version_1(root: str) -> Optional[float]:
    found = []
    for mount in ("sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"):
        for directory in ancestors(os.path.join(root, mount), group(root, "cpu")):
            found.append(_cores(read(directory, "cpu.cfs_quota_us"), read(directory, "cpu.cfs_period_us")))
    return min((value for value in found if value is not None), default=None)


def _cores(quota: str, period: str) -> Optional[float]:
    # "max" (version 2) and -1 (version 1) mean no quota. What cannot be read is none either, so that the server starts.
    try:
        value = int(quota) / int(period or "100000")
    except (ValueError, ZeroDivisionError):
        return None
    return value if value > 0 else None
