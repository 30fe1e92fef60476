"""Clients for what wrk and h2load cannot ask. Each is a program: HOST PORT SECONDS, and more of its own.

Each prints one line of JSON: the `requests` that were answered, those that `failed`, and the `seconds` it took.
"""

from __future__ import annotations

import json
import time
from collections import Counter


def report(counts: Counter[str], began: float) -> None:
    """Print what was counted since a time of time.monotonic()."""
    print(json.dumps({"requests": 0, "failed": 0, **counts, "seconds": time.monotonic() - began}))
