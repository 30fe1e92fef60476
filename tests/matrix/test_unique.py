"""Two variants never share a bake target, a folder or a tag; aliases go where they have a target."""

from __future__ import annotations

import re

import pytest

from imagematrix.matrix.loading import FILES_OF_BUILD
from imagematrix.render.render import render
from tests.conftest import Repository

FIRST = '  - python: "3.9"\n    extra: trio\n'
CHILD = "  hypercorn-fastapi:\n"
TWIN = "  hypercorn.fastapi: {parent: hypercorn, title: Twin, description: Twin, packages: [fastapi>=0.124]}\n"
SLIM = "  slim: {suffix: -slim, libc: glibc, description: Debian slim}\n"


def test_two_images_with_one_bake_target_are_refused_with_both_lines(repository: Repository) -> None:
    line = repository.edit(CHILD, TWIN + CHILD)
    result = repository.run("--validate")
    assert result.status == 2
    (said,) = result.err.splitlines()
    assert said.startswith(f"matrix.yaml:{line}: two variants with one bake target: ")
    assert f"(line {line + 1})" in said


def test_two_suffixes_with_one_bake_target_are_refused(repository: Repository) -> None:
    repository.edit("suffix: -slim", "suffix: -a.b")
    repository.edit("suffix: -alpine", "suffix: -a-b")
    result = repository.run("--validate")
    assert result.status == 2
    assert re.search(r"matrix\.yaml:\d+: two variants with one bake target: \S+ \(line \d+\)", result.err)


def test_what_stands_in_build_beside_the_images_is_no_name_of_an_image(repository: Repository) -> None:
    files = render(repository.load(), repository.root).files
    assert sorted(path for path in files if "/" not in path) == sorted(FILES_OF_BUILD)


def test_an_alias_goes_to_the_images_that_have_its_target(repository: Repository) -> None:
    repository.edit(FIRST, f'  - {{python: "3.15", image: hypercorn-fastapi, reason: because}}\n{FIRST}')
    found = {variant.name for variant in repository.load().variants if "latest" in variant.aliases}
    assert found == {"hypercorn:python3.15-slim"}


def test_an_alias_may_be_pinned_to_a_python_that_is_eol(repository: Repository) -> None:
    repository.edit("latest: {os: slim}", 'latest: {os: slim}\n  python3.8-bookworm: {os: slim, python: "3.8"}')
    assert "python3.8-bookworm" in repository.load().variant("hypercorn", "3.8", "slim").aliases


def test_a_pre_release_takes_no_alias_and_says_what_it_is(repository: Repository) -> None:
    repository.edit('"3.15":\n    status: stable', '"3.15":\n    status: prerelease')
    matrix = repository.load()
    assert "latest" in matrix.variant("hypercorn", "3.14", "slim").aliases
    assert matrix.variant("hypercorn", "3.15", "slim").aliases == ()
    assert "pre-release" in repository.run("--list", "--python", "3.15").out


def test_a_short_suffix_follows_the_newest_release_of_each_python(repository: Repository) -> None:
    repository.edit(
        SLIM,
        "  slim-bookworm: {suffix: -slim-bookworm, short: -slim, libc: glibc, description: Debian 12 slim}\n"
        "  slim: {suffix: -slim-trixie, short: -slim, libc: glibc, description: Debian 13 slim}\n",
    )
    text = repository.matrix.read_text()
    text = re.sub(
        r'slim: "python:([0-9.]+)-slim-\w+"',
        r'slim: "python:\1-slim-trixie", slim-bookworm: "python:\1-slim-bookworm"',
        text,
    )
    repository.matrix.write_text(text)
    repository.edit(FIRST, f'  - {{python: "3.8", os: slim, reason: no such base}}\n{FIRST}')
    matrix = repository.load()
    assert "python3.8-slim" in matrix.variant("hypercorn", "3.8", "slim-bookworm").aliases
    assert "python3.9-slim" in matrix.variant("hypercorn", "3.9", "slim").aliases
    assert matrix.variant("hypercorn", "3.9", "slim-bookworm").aliases == ()


def test_a_base_that_does_not_tell_may_stand_with_a_reason(repository: Repository) -> None:
    repository.edit(
        'bases: {full: "python:3.9-trixie"', 'unchecked: {full: ours}\n    bases: {full: "ghcr.io/team/base:1"'
    )
    assert repository.load().variant("hypercorn", "3.9", "full").base == "ghcr.io/team/base:1"


def test_a_chain_of_images_is_limited_in_any_order(repository: Repository) -> None:
    entry = "  a{}: {{parent: {}, title: T, description: D, packages: [fastapi>=0.124]}}\n"
    chain = [entry.format(number, f"a{number - 1}" if number else "hypercorn") for number in range(1200)]
    for images in (chain, chain[::-1]):
        old = repository.matrix.read_text()
        repository.edit(CHILD, "".join(images) + CHILD)
        result = repository.run("--validate")
        assert result.status == 2
        assert re.match(r"matrix\.yaml:\d+: an image has at most 10 ancestors", result.err)
        repository.matrix.write_text(old)


@pytest.mark.parametrize(
    "text", ["5", "true", ".nan", "2024-10-07", "!!bool maybe", "!!timestamp foo", '!!int ""', '!!float ""']
)
def test_a_file_that_holds_one_value_is_no_matrix(repository: Repository, text: str) -> None:
    repository.matrix.write_text(text)
    result = repository.run("--validate")
    assert result.status == 2
    assert re.match(r"matrix\.yaml:1: ", result.err)
