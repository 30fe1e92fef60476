"""What commands print: progress on standard error, results on standard output."""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence


def say(line: str) -> None:
    """Print a line about progress."""
    print(line, file=sys.stderr, flush=True)


def report(columns: Sequence[str], rows: Sequence[Sequence[str | None]], *, as_json: bool) -> None:
    """Print rows as a list of JSON objects, or as a table without the columns that are empty."""
    if as_json:
        print(json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=2, ensure_ascii=False))
        return
    shown = [number for number, _ in enumerate(columns) if any(row[number] for row in rows)]
    table([columns[number] for number in shown], [[row[number] or "" for number in shown] for row in rows])


def counted(words: Iterable[str]) -> Counter[str]:
    """Print how many there are of each word, as progress; return these numbers."""
    counts = Counter(words)
    say(", ".join(f"{count} {word}" for word, count in counts.items()))
    return counts


_NAME = 17
"""Characters of a long name or tag."""


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table. A terminal wraps what is wider than a name; a file or pipe gets it in full."""
    from rich import box  # slower to import than most commands are to run
    from rich.console import Console
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    lines = [list(row) for row in rows]
    for number, head in enumerate(heads):
        is_short = all(len(line[number]) <= _NAME for line in lines)
        made.add_column(head, no_wrap=is_short, overflow="fold")
    for line in lines:
        made.add_row(*line)
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 1000
    console.print(made)
