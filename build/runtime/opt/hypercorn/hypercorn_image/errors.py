"""The one exception that ends a start, and how it is said.

A person reads these lines in `docker logs`: each says what is wrong, where, and what is allowed. Not for faults while
serving, which are logged.
"""

import sys
from typing import List, Optional, Sequence


class StartError(Exception):
    """The container cannot start.

    `lines` are what is said, one problem each; `details`, when given, is the traceback of the *user's* own code and
    is shown before them; `status` is the exit status.
    """

    def __init__(self, lines: Sequence[str], details: Optional[str] = None, status: int = 1) -> None:
        super().__init__("; ".join(lines))
        self.lines: List[str] = [" ".join(line.split()) for line in lines]
        self.details = details
        self.status = status


def report(error: StartError) -> int:
    """Write `error` to stderr, one line a problem, and return the exit status."""
    if error.details:
        sys.stderr.write(error.details.rstrip("\n") + "\n")
    for line in error.lines:
        sys.stderr.write("hypercorn-image: error: " + line + "\n")
    sys.stderr.flush()
    return error.status
