# SPDX-License-Identifier: MIT
"""The exception that ends a start, and how it is printed.

People read its lines in `docker logs`: each says what is wrong, where, and what is allowed. Errors while serving are
logged instead.
"""

import sys
from typing import List, Optional, Sequence


class StartError(Exception):
    """The container cannot start.

    `lines` has one line for each problem. `details` is the traceback of the user's own code, which is printed before
    them. `status` is the exit status.
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
