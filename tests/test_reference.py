"""Names of images are read as Docker's clients read them."""

from __future__ import annotations

import pytest

from imagematrix.machine import images
from imagematrix.reference import parse

DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("text", "parts", "mirrored"),
    [
        ("python:3.13", ("docker.io", "library/python", "3.13", None), "m:5000/hub/library/python:3.13"),
        ("team/app:1", ("docker.io", "team/app", "1", None), "m:5000/hub/team/app:1"),
        ("docker.io/python:3", ("docker.io", "library/python", "3", None), "m:5000/hub/library/python:3"),
        ("ghcr.io/a/b:1", ("ghcr.io", "a/b", "1", None), "ghcr.io/a/b:1"),
        (f"localhost:5000/x@{DIGEST}", ("localhost:5000", "x", None, DIGEST), f"localhost:5000/x@{DIGEST}"),
        ("localhost:5000/x:1", ("localhost:5000", "x", "1", None), "localhost:5000/x:1"),
    ],
)
def test_a_name_and_where_it_is_pulled_from(
    monkeypatch: pytest.MonkeyPatch, text: str, parts: tuple[str | None, ...], mirrored: str
) -> None:
    found = parse(text)
    assert (found.host, found.path, found.tag, found.digest) == parts
    monkeypatch.setenv("BASE_MIRROR", "https://m:5000/hub/")
    assert images.pull_reference(text) == mirrored
    monkeypatch.delenv("BASE_MIRROR")
    assert images.pull_reference(text) == text.removeprefix("docker.io/")


@pytest.mark.parametrize(
    "text", ["", "A:1", "a..b:c", "https://a/b:1", "a:", "a:1@sha256:12", "a/:1", "localhost:99999/a:1"]
)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"is n|is no"):
        parse(text)


def test_a_name_that_is_too_long() -> None:
    with pytest.raises(ValueError, match="too long"):
        parse(f"{'a/' * 130}b:1")
