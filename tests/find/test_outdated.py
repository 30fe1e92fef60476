"""What `make outdated` reports, from facts that are given here and not found."""

from __future__ import annotations

import datetime

import pytest

from imagematrix import cli
from imagematrix.errors import UserError
from imagematrix.find import outdated
from imagematrix.find.outdated import Finding, bases, packages, pythons
from imagematrix.matrix.loading import load
from tests.conftest import Repository

MATRIX = load(cli.ROOT)


def python(version: str, days: int) -> list[Finding]:
    """Ask about one Python, `days` before its support ends."""
    one = next(one for one in MATRIX.pythons if one.version == version)
    return pythons([one], one.end_of_life - datetime.timedelta(days=days))


@pytest.mark.parametrize("days", [90, 1, 0, -1])
def test_a_python_whose_support_ends_within_90_days(days: int) -> None:
    assert python("3.13", days) == [Finding("python", "3.13", "stable", "ends 2029-10-31")]


def test_a_python_with_more_than_90_days_left_and_one_that_is_eol_already() -> None:
    assert python("3.13", 91) == []
    assert python("3.8", -100) == []


def test_a_base_that_is_newer_in_the_registry() -> None:
    variant = MATRIX.variants[0]
    locked = MATRIX.locks.base_digest(variant.base)
    assert bases([variant], {variant.base: locked}) == []
    assert bases([variant], {variant.base: "sha256:new"}) == [
        Finding("base", variant.base, locked or "not pinned", "sha256:new")
    ]


def test_packages_of_other_versions() -> None:
    assert packages("lock", {"a": "1", "b": "1"}, {"a": "2", "b": "1", "c": "3"}) == [
        Finding("package", "lock a", "1", "2"),
        Finding("package", "lock c", "none", "3"),
    ]


def test_the_verb_lists_every_python_even_if_nothing_is_outdated(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_engine() -> None:
        raise UserError("none")

    monkeypatch.setattr(outdated.engine, "ensure", no_engine)
    monkeypatch.setattr(outdated, "resolve", lambda matrix, variants: [])
    done = repository.run(main=outdated.main)
    assert done.status == 0
    said = [line.split() for line in done.out.splitlines() if line and line[0].isdigit()]
    assert said == [[one.version, one.status, *one.support.split()] for one in MATRIX.pythons]
    assert ["3.8", "eol", "ended", "2024-10-07"] in said
