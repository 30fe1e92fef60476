"""What the command lines of all verbs share: filters, error output, exit status."""

import argparse
import io
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from imagematrix import project
from imagematrix.errors import InputError, allowed_instead, exit_status
from imagematrix.matrix.model import Matrix, Variant

ROOT = project.ROOT
"""The repository."""


def parser(description: str) -> argparse.ArgumentParser:
    """Return a command line with the options that all verbs have."""
    made = argparse.ArgumentParser(
        description=description,
        epilog="Exit status: 0 done, 1 failed, 2 wrong input.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this one)")
    filters = made.add_argument_group("filters", "which variants; each may be given more than once, or with commas")
    for name, example in (
        ("tag", "python3.13-slim, or an alias such as latest"),
        ("image", "an image's name in matrix.yaml"),
        ("python", "3.13"),
        ("os", "slim"),
    ):
        filters.add_argument(f"--{name}", action="append", default=[], metavar=name.upper(), help=f"such as {example}")
    return made


def select(matrix: Matrix, arguments: argparse.Namespace) -> tuple[Variant, ...]:
    """Return the variants that match the filters. Raises InputError for a name that is not in the matrix."""
    chosen = matrix.variants
    for option, names_of in _FILTERS.items():
        wanted = _wanted(arguments, option)
        allowed = dict.fromkeys(name for variant in matrix.variants for name in sorted(names_of(variant)))
        for name in wanted:
            if name not in allowed:
                raise InputError(f"--{option} {name}: not in {matrix.file}; {allowed_instead(name, allowed)}")
        if wanted:
            chosen = tuple(variant for variant in chosen if not names_of(variant).isdisjoint(wanted))
    if not chosen:
        raise InputError("no variant matches all of these filters together")
    return chosen


def with_parents(variants: Iterable[Variant]) -> tuple[Variant, ...]:
    """Return the variants and those that they are built on."""
    return tuple(dict.fromkeys(variant.at(image) for variant in variants for image in variant.image.lineage))


_FILTERS: dict[str, Callable[[Variant], set[str]]] = {
    "tag": lambda variant: set(variant.named_tags),
    "image": lambda variant: {variant.image.name},
    "python": lambda variant: {variant.python.version},
    "os": lambda variant: {variant.os.name},
}


def filtered(arguments: argparse.Namespace) -> bool:
    """Say whether any filter was given."""
    return any(_wanted(arguments, option) for option in _FILTERS)


def _wanted(arguments: argparse.Namespace, option: str) -> list[str]:
    return [name for value in getattr(arguments, option) for name in value.split(",") if name]


def run(main: Callable[[list[str] | None], int]) -> None:
    """Run a verb and exit. Each error is one line; Ctrl-C, SIGTERM and a closed pipe print no traceback."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # cleans up as Ctrl-C does
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 shows \xe9 for é
    try:
        status = exit_status(lambda: main(None))
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)
