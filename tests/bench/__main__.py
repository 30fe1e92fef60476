"""`make bench`: measures this repository's runtime beside plain Hypercorn and other servers. See docs/benchmarks."""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imagematrix import cli
from imagematrix.console import say
from imagematrix.errors import InputError
from imagematrix.writing import write_whole
from tests.bench import chart, environment, loads, machine, report
from tests.bench.cases import Case, chosen
from tests.bench.measuring import Bench, Row
from tests.bench.results import Results
from tests.bench.servers import TABLE

OUTPUT = cli.ROOT / "docs" / "benchmarks"


def main(argv: list[str] | None = None) -> int:
    """Run the verb; return its exit status."""
    arguments = _parser().parse_args(argv)
    cases = chosen(arguments.only)
    if arguments.list:
        print("\n".join(map(report.described, cases)))
        return 0
    if arguments.rounds < 1 or not 0 < arguments.seconds <= 600:
        raise InputError("ROUNDS is 1 or more, SECONDS more than 0 and at most 600")
    loads.install()
    results = _measured(cases, environment.python(), arguments)
    _write(results, arguments.output)
    if arguments.json:
        print(json.dumps(results.as_json(), indent=2))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, epilog="Exit status: 0 done, 2 wrong input."
    )
    parser.add_argument("--only", default="", metavar="PATTERNS", help="cases whose names match, with commas between")
    parser.add_argument("--rounds", type=int, default=5, help="how often each server is asked for each case")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long, each time")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the folder that is written")
    parser.add_argument("--list", action="store_true", help="list the cases, measure nothing")
    parser.add_argument("--json", action="store_true", help="print results.json too")
    return parser


def _measured(cases: Sequence[Case], python: Path, arguments: argparse.Namespace) -> Results:
    about: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "command": _command(arguments),
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        **machine.description(),
        "python": environment.VERSION,
        "versions": environment.versions(python),
        "pinned": "server and client to cores of their own" if machine.cores(1) else "no",
        "load_before": machine.load_average(),
    }
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        rows = _rows(cases, Bench(python, Path(folder), arguments.rounds, arguments.seconds, say))
    return Results({**about, "load_after": machine.load_average()}, rows)


def _command(arguments: argparse.Namespace) -> str:
    """Return the command that measures the same again."""
    only = [f"ONLY={arguments.only}"] if arguments.only else []
    return shlex.join(["make", "bench", *only, f"ROUNDS={arguments.rounds}", f"SECONDS={arguments.seconds:g}"])


def _rows(cases: Sequence[Case], bench: Bench) -> list[Row]:
    rows, began = [], time.monotonic()
    for number, case in enumerate(cases):
        spent = time.monotonic() - began
        left = f", about {_minutes(spent / number * (len(cases) - number))} left" if number else ""
        say(f"[{number + 1}/{len(cases)}] {case.name}: {case.what} ({_minutes(spent)} so far{left})")
        rows.append(bench.measure(case, TABLE))
    return rows


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _write(results: Results, folder: Path) -> None:
    texts = {
        "README.md": report.markdown(results),
        "results.json": json.dumps(results.as_json(), indent=1) + "\n",
        "chart.svg": chart.draw(results.rows),
    }
    for name, text in texts.items():
        write_whole(folder / name, text.encode())
    say(f"written: {folder}")


if __name__ == "__main__":
    cli.run(main)
