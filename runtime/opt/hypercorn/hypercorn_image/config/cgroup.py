# SPDX-License-Identifier: MIT
"""The cgroup of this process, version 1 and 2: where its files are, and reading them."""

import os
from typing import Iterator, List


def read(*parts: str) -> str:
    """Return the text of a file; nothing where it cannot be read."""
    try:
        with open(os.path.join(*parts), encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def ancestors(mount: str, group: str) -> Iterator[str]:
    """Yield the directory of `group` below `mount`, then each parent's up to `mount` itself."""
    names: List[str] = [name for name in group.split("/") if name not in ("", "..")]
    for length in range(len(names), -1, -1):
        yield os.path.join(mount, *names[:length])


def group(root: str, controller: str) -> str:
    """Return this process's cgroup for `controller` (empty for version 2), "/" when unknown."""
    for line in read(root, "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller in controllers.split(","):
            return path
    return "/"
