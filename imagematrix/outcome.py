"""The outcome of `make build` or `make push` for each variant, and how it is printed."""

from collections import Counter
from dataclasses import dataclass

from imagematrix.console import counted, report
from imagematrix.matrix.model import Variant


@dataclass(frozen=True)
class Outcome:
    """The status of a variant after a run, the reason, and its digest in the registry."""

    variant: Variant
    status: str
    reason: str = ""
    digest: str | None = None


def print_outcomes(outcomes: list[Outcome], *, as_json: bool = False) -> Counter[str]:
    """Print the outcomes, unless all variants are current; return how many there are of each status."""
    columns = ("variant", "status", "digest", "reason")
    if as_json or any(outcome.status != "current" for outcome in outcomes):
        report(
            columns,
            [(outcome.variant.name, outcome.status, outcome.digest, outcome.reason) for outcome in outcomes],
            as_json=as_json,
        )
    return counted(outcome.status for outcome in outcomes)
