"""The results: what results.json says, and the figures that tables and chart are made from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from tests.bench.measuring import Cell, Row


@dataclass(frozen=True)
class Spread:
    """Median, least and most of the rounds."""

    median: float
    least: float
    most: float


@dataclass(frozen=True)
class Results:
    """All that a run has found. `about` is the machine, the versions, when and how it was run."""

    about: dict[str, Any]
    rows: list[Row]

    def as_json(self) -> dict[str, Any]:
        """Return what results.json holds."""
        return {**self.about, "cases": [_case(row) for row in self.rows]}


def spread(cell: Cell, field: str) -> Spread | None:
    """Return the spread of a field of a cell's samples, None if it has none."""
    values = [getattr(sample, field) for sample in cell.samples if getattr(sample, field) is not None]
    return Spread(median(values), min(values), max(values)) if values else None


def ratio(above: Cell, below: Cell, field: str) -> float | None:
    """Return the median of the rounds' ratios, None where one has no samples: a round is one time on one machine."""
    pairs = [
        (getattr(one, field), getattr(other, field))
        for one, other in zip(above.samples, below.samples, strict=False)
        if getattr(other, field)
    ]
    return median(one / other for one, other in pairs) if pairs else None


def find(rows: Iterable[Row], name: str) -> Row | None:
    """Return the row of a case."""
    return next((row for row in rows if row.case.name == name), None)


def _case(row: Row) -> dict[str, Any]:
    return {**asdict(row.case), "client": row.client, "servers": [asdict(cell) for cell in row.cells.values()]}
