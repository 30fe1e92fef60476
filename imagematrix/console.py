"""What commands print: progress on standard error, results on standard output."""

from __future__ import annotations

import sys
from collections.abc import Iterable


def say(line: str) -> None:
    """Print a line about progress."""
    print(line, file=sys.stderr, flush=True)


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table as wide as it is. A narrow terminal wraps its lines; a file or pipe gets them whole."""
    from rich import box  # takes longer to import than most commands take to run
    from rich.console import Console
    from rich.table import Table

    made = Table(*heads, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for row in rows:
        made.add_row(*row)
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 1000
    console.print(made)
