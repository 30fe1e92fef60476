"""Which updates Renovate and Dependabot offer for each form of tag, by their published rules.

The rules are those that choose a tag. Renovate: `lib/modules/versioning/docker`; the highest version of the same suffix
and the same number of parts. Dependabot: `docker/lib/dependabot/docker/tag.rb`; the same prefix, suffix and format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable

import pytest

from imagematrix.matrix.loading import load
from tests.conftest import REPOSITORY
from tests.documents.blocks import texts

DAYS = ("20261122", "20261201")
TAGS = {
    tag
    for variant in load(REPOSITORY).variants
    if variant.image.name == "hypercorn"
    for tag in (*variant.tags, *(dated for day in DAYS for dated in variant.dated_tags(day)))
} | {"0.19.0-python3.14-slim"}
"""What the registry has of one image, with a day later and a Hypercorn later."""
Key = tuple[int, ...]


# --- Renovate ---


def renovate(tag: str) -> tuple[object, Key] | None:
    """Return what must be the same and what is compared, None if the tag has no version."""
    version, _, suffix = tag.removeprefix("v").partition("-")
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)*", version):
        return None
    release = tuple(map(int, version.split(".")))
    return (suffix, len(release)), release


def with_rules(tag: str) -> tuple[object, Key] | None:
    """The same with the package rules of docs/tags.md."""
    (block,) = texts("docs/tags.md", "json")
    for rule in json.loads(block)["packageRules"]:
        if re.search(rule["matchCurrentValue"].strip("/"), tag):
            found = re.fullmatch(rule["versioning"].removeprefix("regex:").replace("(?<", "(?P<"), tag)
            assert found, (tag, rule)
            numbers = [found[name] for name in ("major", "minor", "patch") if name in found.groupdict()]
            return (rule["versioning"], found["compatibility"]), tuple(map(int, numbers))
    return renovate(tag)


# --- Dependabot ---

WORDS_WITH_BUILD = r"(?:(?:-[a-z]+)+-[0-9]+)+"
VERSION = rf"v?(?P<version>[0-9]+(?:\.[0-9]+)*(?:_[0-9]+|\.[a-z0-9]+|{WORDS_WITH_BUILD}|-(?:kb)?[0-9]+)*)"
FORMS = (
    rf"(?P<prefix>[a-z][a-z0-9.\-]*-)?{VERSION}",
    rf"{VERSION}(?P<suffix>-[a-z][a-z0-9.\-]*)?",
    rf"(?P<prefix>[a-z\-]+-)?{VERSION}(?P<suffix>-[a-z\-]+)?",
)


def dependabot(tag: str) -> tuple[object, Key] | None:
    found = next(filter(None, (re.fullmatch(form, tag, re.IGNORECASE) for form in FORMS)), None)
    if found is None:
        return None
    parts = {"prefix": None, "suffix": None, **found.groupdict()}
    numbers = re.split(r"[.-]", re.sub(r"-[a-z]+", "", parts["version"]))
    if not all(number.isdigit() for number in numbers):  # "looks like a pre-release"
        return None
    if re.search(r"(^|-g?)[0-9a-f]{7,}$", tag):
        return (parts["prefix"], "sha suffixed"), tuple(map(int, numbers))
    return (parts["prefix"], parts["suffix"], len(numbers)), tuple(map(int, numbers))


def offered(read: Callable[[str], tuple[object, Key] | None], current: str, tags: Iterable[str] = TAGS) -> set[str]:
    """Return the tags that a bot may offer for `current`: the highest of those that it compares with it."""
    mine = read(current)
    if mine is None:
        return set()
    others = {tag: found for tag in tags if (found := read(tag)) and found[0] == mine[0]}
    highest = max(key for _, key in others.values())
    return {tag for tag, (_, key) in others.items() if key == highest and key > mine[1]}


@pytest.mark.parametrize(
    ("tag", "by_renovate", "by_rules", "by_dependabot"),
    [
        ("3.13", "3.15", "3.15", "3.15"),
        ("3.13-slim", "3.15-slim", "3.15-slim", "3.15-slim"),
        ("3.13-alpine", "3.15-alpine", "3.15-alpine", "3.15-alpine"),
        ("3.13-slim-trixie", "3.15-slim-trixie", "3.15-slim-trixie", "3.15-slim-trixie"),
        ("3.13-alpine3.24", "3.15-alpine3.24", "3.15-alpine3.24", "3.15-alpine3.24"),
        ("0.18.0-python3.14-slim", *["0.19.0-python3.14-slim"] * 3),
        ("python3.13-slim", None, "python3.15-slim", None),
        ("python3.13", None, "python3.15", None),
        ("python3.13-slim-20261122", None, *["python3.13-slim-20261201"] * 2),
        ("python3.13-20261122", None, *["python3.13-20261201"] * 2),
        *[(alias, None, None, None) for alias in ("3", "3-slim", "3-alpine", "latest", "slim", "alpine")],
    ],
)
def test_each_form_gets_the_right_update(
    tag: str, by_renovate: str | None, by_rules: str | None, by_dependabot: str | None
) -> None:
    assert tag in TAGS
    assert offered(renovate, tag) == {by_renovate} - {None}
    assert offered(with_rules, tag) == {by_rules} - {None}
    assert offered(dependabot, tag) == {by_dependabot} - {None}


@pytest.mark.parametrize("read", [renovate, with_rules, dependabot])
def test_no_update_goes_to_another_os(read: Callable[[str], tuple[object, Key] | None]) -> None:
    def os(tag: str) -> str:
        return next((word for word in ("alpine", "slim") if word in tag), "full")

    hops = [(tag, offer) for tag in TAGS for offer in offered(read, tag) if os(tag) != os(offer)]
    assert hops == []


def test_a_day_behind_the_version_would_make_dependabot_go_to_another_os() -> None:
    """Why matrix.yaml has no {python}{os}-{day}."""
    tags = {"3.14-slim-20261122", "3.15-slim-20261122", "3.15-alpine-20261122"}
    assert "3.15-alpine-20261122" in offered(dependabot, "3.14-slim-20261122", tags)
