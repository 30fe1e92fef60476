"""What publishing decides, without a registry or an engine: tags, reasons, and that only what changed is touched."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from imagematrix import cli, labels
from imagematrix.errors import InputError
from imagematrix.matrix.loading import load
from imagematrix.matrix.model import Matrix, Variant
from imagematrix.publish.plan import Decision, decide, destination
from imagematrix.registry import Published
from imagematrix.render.render import Rendered, render

MATRIX = load(cli.ROOT)
PLATFORMS = {"linux/amd64": "sha256:amd64", "linux/arm64": "sha256:arm64"}
DAY = "20261122"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of what the matrix is rendered from, with every base pinned."""
    for name in ("matrix.yaml", "templates", "locks", "runtime"):
        source = cli.ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    pin(tmp_path, dict.fromkeys({variant.base for variant in MATRIX.variants}, "sha256:" + "0" * 64))
    return tmp_path


def pin(root: Path, digests: dict[str, str]) -> None:
    (root / "locks/bases.json").write_text(json.dumps(digests))


def read(root: Path) -> tuple[Matrix, Rendered]:
    matrix = load(root)
    return matrix, render(matrix, root)


def published(root: Path) -> dict[str, Published]:
    """What a registry has when everything in a repository was just published."""
    matrix, rendered = read(root)
    return {variant.name: one(variant, rendered) for variant in matrix.variants}


def one(variant: Variant, rendered: Rendered) -> Published:
    own = rendered.matrix.labels
    said = {
        own.inputs: rendered.inputs[variant],
        labels.BASE_NAME: variant.pinned_base,
        labels.CREATED: "2026-11-22T23:59:59+00:00",
    }
    if variant.image.parent:
        said[own.parent] = rendered.inputs[variant.at(variant.image.parent)]
    return Published(f"sha256:{variant.name}", PLATFORMS, said)


def plan(root: Path, have: dict[str, Published]) -> dict[str, Decision]:
    matrix, rendered = read(root)
    return {one.name: decide(one, rendered, have.get(one.name), {}) for one in matrix.variants}


def edit(root: Path, name: str, old: str, new: str) -> None:
    text = (root / name).read_text()
    assert old in text
    (root / name).write_text(text.replace(old, new, 1))


# --- tags ---


def variant(name: str) -> Variant:
    return next(one for one in MATRIX.variants if one.name == name)


def test_a_stable_variant_has_moving_version_dated_and_alias_tags() -> None:
    newest = [one for one in MATRIX.variants if one.python.status == "stable" and one.os.name == "slim"][-1]
    assert {newest.tag, f"{newest.server_version}-{newest.tag}", "latest", "slim"} < set(newest.tags)
    assert newest.dated_tags(DAY) == (f"{newest.tag}-20261122",)


def test_every_alias_names_one_variant_of_each_image() -> None:
    for image in MATRIX.images:
        aliases = sorted(alias for one in MATRIX.variants if one.image == image for alias in one.aliases)
        assert aliases == ["3", "3-alpine", "3-slim", "alpine", "latest", "slim"]


def test_a_python_at_its_end_of_life_is_built_and_takes_no_alias() -> None:
    ended = [one for one in MATRIX.variants if one.python.status == "eol"]
    assert ended
    assert not any(one.aliases for one in ended)


def test_no_two_variants_share_a_tag_of_any_kind() -> None:
    references = [f"{one.image.name}:{tag}" for one in MATRIX.variants for tag in (*one.tags, *one.dated_tags(DAY))]
    assert len(references) == len(set(references))


def test_another_registry_changes_where_and_not_what() -> None:
    image = MATRIX.images[0]
    assert destination(MATRIX, "127.0.0.1:5000/mine").repository(image) == f"127.0.0.1:5000/mine/{image.name}"
    assert destination(MATRIX, "ghcr.io").repository(image) == f"ghcr.io/hypercorn/{image.name}"
    assert destination(MATRIX, "docker.io/mine").repository(image) == f"mine/{image.name}"
    assert destination(MATRIX, None) == MATRIX.destination


@pytest.mark.parametrize("registry", ["https://ghcr.io/mine", "ghcr.io/Mine", "ghcr.io:0/mine", "a b"])
def test_a_registry_that_is_none_is_refused(registry: str) -> None:
    with pytest.raises(InputError, match=rf"^REGISTRY={registry}: allowed is HOST"):
        destination(MATRIX, registry)


@pytest.mark.parametrize("registry", ["mine", "mine/team", "ghcr"])
def test_a_registry_that_is_no_host_does_not_become_a_namespace_of_docker_hub(registry: str) -> None:
    with pytest.raises(InputError, match=rf"^REGISTRY={registry}: .* is not a registry's host, .*ghcr.io/"):
        destination(MATRIX, registry)


# --- decisions ---


def test_what_the_registry_has_not_got_is_new(repository: Path) -> None:
    assert {(one.action, one.reason) for one in plan(repository, {}).values()} == {("build", "new")}


def test_what_has_not_changed_is_kept(repository: Path) -> None:
    assert {one.action for one in plan(repository, published(repository)).values()} == {"keep"}


@pytest.mark.parametrize(
    "change",
    [
        lambda root: edit(root, "matrix.yaml", "registry:", "# a word\nregistry:"),
        lambda root: edit(root, "matrix.yaml", "namespace: hypercorn", "namespace: somebody"),
    ],
    ids=["a comment", "another namespace"],
)
def test_what_is_in_no_image_publishes_nothing(repository: Path, change: Callable[[Path], None]) -> None:
    before = published(repository)
    change(repository)
    assert {one.action for one in plan(repository, before).values()} == {"keep"}


def test_another_day_of_support_publishes_the_images_of_that_python(repository: Path) -> None:
    before = published(repository)
    edit(repository, "matrix.yaml", "2030-10-31", "2030-10-30")
    changed = {name for name, one in plan(repository, before).items() if one.action == "build"}
    assert changed == {one.name for one in MATRIX.variants if one.python.version == "3.14"}


def test_a_new_base_digest_publishes_exactly_what_is_on_that_base(repository: Path) -> None:
    before, base = published(repository), variant("hypercorn:python3.13-slim").base
    zeros = dict.fromkeys({one.base for one in MATRIX.variants}, "sha256:" + "0" * 64)
    pin(repository, {**zeros, base: "sha256:" + "1" * 64})
    changed = {name: one.reason for name, one in plan(repository, before).items() if one.action != "keep"}
    assert set(changed) == {one.name for one in MATRIX.variants if one.base == base}
    assert {reason.partition(":")[0] for reason in changed.values()} == {"base changed"}


def rebuilt_with_a_new(package: str, repository: Path, before: dict[str, Published]) -> dict[str, str]:
    """Lock another version of a package for Python 3.13; return what is then built, and why."""
    lock = repository / "locks/python3.13.txt"
    line = next(line for line in lock.read_text().splitlines() if line.startswith(f"{package}=="))
    edit(repository, "locks/python3.13.txt", line, f"{package}==99.0 \\")
    return {name: one.reason for name, one in plan(repository, before).items() if one.action == "build"}


def test_a_new_wheel_publishes_the_images_it_is_in_and_their_children(repository: Path) -> None:
    before = published(repository)
    changed = rebuilt_with_a_new("hypercorn", repository, before)
    cells = [one for one in MATRIX.variants if one.python.version == "3.13"]
    assert changed == {one.name: "parent changed: hypercorn" if one.image.parent else "inputs changed" for one in cells}


def test_a_childs_own_wheel_leaves_its_parent_alone(repository: Path) -> None:
    before = published(repository)
    changed = rebuilt_with_a_new("fastapi", repository, before)
    cells = [one for one in MATRIX.variants if one.python.version == "3.13" and one.image.parent]
    assert changed == {one.name: "inputs changed" for one in cells}


def test_a_platform_that_is_missing_is_built(repository: Path) -> None:
    have = published(repository)
    name = "hypercorn:python3.13-slim"
    have[name] = replace(have[name], platforms={"linux/amd64": "sha256:amd64"})
    decisions = plan(repository, have)
    assert [(one.variant.name, one.reason) for one in decisions.values() if one.action != "keep"] == [
        (name, "inputs changed: no linux/arm64 yet")
    ]


def test_a_tag_that_names_something_else_is_moved_without_a_build(repository: Path) -> None:
    matrix, rendered = read(repository)
    newest = next(one for one in matrix.variants if "latest" in one.aliases)
    have = one(newest, rendered)
    decision = decide(newest, rendered, have, {**dict.fromkeys(newest.tags, have.digest), "latest": None})
    assert (decision.action, decision.stale_tags) == ("tag", ("latest",))


@pytest.mark.parametrize(("there", "action"), [(None, "tag"), ("sha256:an earlier one of that day", "keep")])
def test_a_dated_tag_is_set_if_it_is_missing_and_never_moved(repository: Path, there: str | None, action: str) -> None:
    matrix, rendered = read(repository)
    variant = matrix.variants[0]
    have = one(variant, rendered)
    tags = {**dict.fromkeys(variant.tags, have.digest), f"{variant.tag}-{DAY}": there}
    decision = decide(variant, rendered, have, tags)
    assert (decision.action, decision.stale_tags) == (action, (f"{variant.tag}-{DAY}",) if action == "tag" else ())
