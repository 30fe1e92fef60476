"""The patterns of tags: what each becomes, for which variants, and that none moves to another base unasked."""

from __future__ import annotations

import re

import pytest

from imagematrix.matrix.model import Variant
from imagematrix.matrix.tags import looks_like, release_of
from tests.conftest import Repository

SLIM_314 = 'slim: "python:3.14-slim-trixie"'


def newest(repository: Repository, python: str = "3.14") -> Variant:
    return repository.load().variant("hypercorn", python, "slim")


@pytest.mark.parametrize(
    ("base", "release"),
    [
        ("python:3.14-slim-trixie", "-slim-trixie"),
        ("python:3.14.2-alpine3.24", "-alpine3.24"),
        ("python:3.14-rc-slim-trixie", "-slim-trixie"),
        ("python:3.14.0rc2-trixie", "-trixie"),
        ("ghcr.io/team/python:3.14-slim", "-slim"),
        ("python:3.14", ""),
        ("python:3.13-slim", None),
        ("ghcr.io/team/base:3.14-slim", None),
    ],
)
def test_the_release_of_a_base(base: str, release: str | None) -> None:
    assert release_of(base, "3.14") == release


def test_what_a_pattern_can_become() -> None:
    expression = looks_like("{server}-python3.14-{day}")
    assert re.fullmatch(expression, "0.18.0-python3.14-20261122")
    assert not re.fullmatch(expression, "0.18.0-python3x14-20261122")
    assert not re.fullmatch(expression, "slim-python3.14-20261122")


def test_a_pre_release_has_tags_that_no_bot_takes_for_a_release(repository: Repository) -> None:
    repository.edit('"3.15":\n    status: stable', '"3.15":\n    status: prerelease')
    tags = newest(repository, "3.15").lasting_tags
    assert tags == ("python3.15-slim", "3.15-rc-slim", "3.15-rc-slim-trixie")


def test_a_base_that_does_not_tell_its_release_gives_no_such_tag(repository: Repository) -> None:
    repository.edit(
        f'bases: {{full: "python:3.14-trixie", {SLIM_314}',
        'unchecked: {slim: ours}\n    bases: {full: "python:3.14-trixie", slim: "ghcr.io/team/base:1"',
    )
    assert newest(repository).lasting_tags == ("python3.14-slim", "3.14-slim")


def test_another_release_of_a_base_takes_a_tag_away_and_has_to_be_allowed(generated: Repository) -> None:
    generated.edit(SLIM_314, SLIM_314.replace("trixie", "forky"))
    result = generated.run()
    assert result.status == 2
    assert "matrix.yaml: hypercorn:3.14-slim-trixie would go" in result.err.splitlines()
    assert generated.run("--allow-removal").status == 0
    assert newest(generated).lasting_tags == ("python3.14-slim", "3.14-slim", "3.14-slim-forky")


def test_a_short_suffix_is_in_the_tags_of_the_newest_release(repository: Repository) -> None:
    repository.edit("slim: {suffix: -slim,", "slim: {suffix: -slim-trixie, short: -slim,")
    assert newest(repository).named_tags == (
        "python3.14-slim-trixie", "3.14-slim-trixie", "3.14-slim", "python3.14-slim",
    )  # fmt: skip


def test_a_matrix_without_patterns_has_the_variants_own_tags(repository: Repository) -> None:
    text = repository.matrix.read_text()
    start = text.index("tags:\n  - ")
    repository.matrix.write_text(text[:start] + text[text.index("# Tags that follow") :])
    assert newest(repository).tags == ("python3.14-slim",)
    assert newest(repository).dated_tags("20261122") == ()


def test_a_filter_takes_every_tag_that_the_matrix_tells(repository: Repository) -> None:
    for tag in ("3.14-slim", "3.14-slim-trixie", "python3.14-slim"):
        assert [line.split()[:2] for line in repository.run("--list", "--tag", tag).out.splitlines()[2:]] == [
            ["hypercorn", "python3.14-slim"],
            ["hypercorn-fastapi", "python3.14-slim"],
        ]
