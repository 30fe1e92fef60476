"""Publishing one cell, both its images, to a real registry: the whole story in the order in which it happens.

Each test goes on from where the one before left the registry; the last ones start in a namespace of their own.
"""

from __future__ import annotations

import datetime
import json
import subprocess
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from imagematrix.matrix.loading import load
from imagematrix.registry import Published
from imagematrix.registry import Registry as Client
from tests.publish.loopback.conftest import BASE, DAY, TAG, Repository, make_key, verified

PLAIN, CHILD = f"hypercorn:{TAG}", f"hypercorn-fastapi:{TAG}"


@pytest.fixture(scope="module")
def first(repository: Repository) -> dict[str, str]:
    """The first publication of all: variant -> digest."""
    assert repository.plan() == {PLAIN: ("build", "new"), CHILD: ("build", "new")}
    return repository.published()


def inspected(repository: Repository, client: Client, image: str, digest: str) -> Published:
    """Return what the registry has under a digest."""
    found = client.inspect(f"{repository.environment['REGISTRY']}/{image}@{digest}")
    assert found
    return found


def layers(client: Client, repository: Repository, image: str, digest: str) -> list[str]:
    name = f"{repository.environment['REGISTRY']}/{image}@{digest}"
    answer = client._run(["inspect", "--format", "{{json .Image}}", name], name)
    found: list[str] = json.loads(answer or "")["rootfs"]["diff_ids"]
    return found


def test_all_tags_name_what_was_pushed(repository: Repository, first: dict[str, str]) -> None:
    version = next(one for one in load(repository.root).variants if one.name == PLAIN).server_version
    tags = {TAG, f"{version}-{TAG}", f"{TAG}-{DAY}", "3.13-alpine", "3.13-alpine3.24"}
    for image, name in (("hypercorn", PLAIN), ("hypercorn-fastapi", CHILD)):
        assert repository.tags(image) == dict.fromkeys(tags, first[name])


def test_the_child_has_its_parents_layers(repository: Repository, client: Client, first: dict[str, str]) -> None:
    parent, child = (layers(client, repository, name.partition(":")[0], first[name]) for name in (PLAIN, CHILD))
    assert child[: len(parent)] == parent


def test_what_has_not_changed_is_not_touched(repository: Repository, first: dict[str, str]) -> None:
    repository.registry.requests.clear()
    assert repository.published() == first
    assert {request.method for request in repository.registry.requests} <= {"GET", "HEAD"}


def test_index_and_image_are_signed_with_the_key(
    repository: Repository, client: Client, first: dict[str, str], key: Path, tmp_path: Path
) -> None:
    digest = first[PLAIN]
    index = inspected(repository, client, "hypercorn", digest)
    for one in (digest, *index.platforms.values()):
        verified(repository, key, "hypercorn", one)
    make_key(tmp_path)
    with pytest.raises(AssertionError, match=r"no matching signatures|invalid signature|failed to verify"):
        verified(repository, tmp_path / "cosign.key", "hypercorn", digest)


def test_the_bill_of_materials_is_valid_and_complete(
    repository: Repository, client: Client, first: dict[str, str], key: Path
) -> None:
    index = inspected(repository, client, "hypercorn-fastapi", first[CHILD])
    (found,) = verified(repository, key, "hypercorn-fastapi", index.platforms["linux/amd64"], "cyclonedx")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(found)) is None
    listed = {one["name"]: one["version"] for one in found["components"]}
    child = next(one for one in load(repository.root).variants if one.name == CHILD)
    assert {one.name: one.version for one in child.packages}.items() <= listed.items()
    assert "pip" in listed


def test_the_provenance_names_commit_and_base(
    repository: Repository, client: Client, first: dict[str, str], key: Path
) -> None:
    index = inspected(repository, client, "hypercorn", first[PLAIN])
    (found,) = verified(repository, key, "hypercorn", index.platforms["linux/amd64"], "slsaprovenance1")
    lock = json.loads((repository.root / "locks/bases.json").read_text())
    text = json.dumps(found)
    assert lock[BASE].removeprefix("sha256:") in text
    assert index.labels["org.opencontainers.image.revision"] in text


def test_the_image_says_when_its_commit_was_made_and_which_digest_its_base_has(
    repository: Repository, client: Client, first: dict[str, str]
) -> None:
    index = inspected(repository, client, "hypercorn", first[PLAIN])
    command = ["git", "show", "--no-patch", "--format=%ct", index.labels["org.opencontainers.image.revision"]]
    time = int(subprocess.run(command, cwd=repository.root, check=True, capture_output=True).stdout)
    created = datetime.datetime.fromisoformat(index.labels["org.opencontainers.image.created"])
    assert (created.timestamp(), created.utcoffset()) == (time, datetime.timedelta(0))
    lock = json.loads((repository.root / "locks/bases.json").read_text())
    assert index.labels["org.opencontainers.image.base.digest"] == lock[BASE]


def test_no_secret_is_in_a_label_or_a_log(
    repository: Repository, client: Client, first: dict[str, str], key: Path
) -> None:
    index = inspected(repository, client, "hypercorn", first[PLAIN])
    assert "COSIGN" not in json.dumps(dict(index.labels))
    assert "cert =" not in json.dumps(dict(index.labels))


def test_a_comment_publishes_nothing(repository: Repository, first: dict[str, str]) -> None:
    repository.edit("matrix.yaml", "registry:", "# a word\nregistry:")
    repository.commit()
    assert set(repository.plan().values()) == {("keep", "unchanged")}


def test_a_lost_tag_comes_back_without_a_build(repository: Repository, client: Client, first: dict[str, str]) -> None:
    lost = next(tag for tag in repository.tags() if tag.endswith(f"-{TAG}"))
    where = repository.environment["REGISTRY"]
    client.tag(f"{where}/hypercorn-fastapi@{first[CHILD]}", [f"{where}/hypercorn:{lost}"])
    assert repository.plan()[PLAIN][0] == "tag"
    done = repository.push(BUILDER="there is none")
    assert [row["status"] for row in done.rows] == ["tagged", "current"]
    assert repository.tags()[lost] == first[PLAIN]


def test_a_lost_dated_tag_comes_back_by_the_day_that_the_image_says(
    repository: Repository, first: dict[str, str]
) -> None:
    repository.edit("matrix.yaml", '"{tag}-{day}"', '"{tag}-on-{day}"')
    repository.commit()
    assert repository.plan()[PLAIN] == ("tag", f"unchanged, but not under {TAG}-on-{DAY}")
    assert [row["status"] for row in repository.push(BUILDER="there is none").rows] == ["tagged", "tagged"]
    assert repository.tags()[f"{TAG}-on-{DAY}"] == first[PLAIN]
    repository.edit("matrix.yaml", "-on-", "-")
    repository.commit()


def test_a_change_of_the_child_publishes_the_child_alone_and_moves_no_dated_tag(
    repository: Repository, client: Client, first: dict[str, str]
) -> None:
    repository.edit("matrix.yaml", "The Hypercorn server and the FastAPI framework", "Hypercorn and FastAPI")
    repository.commit()
    assert repository.plan() == {PLAIN: ("keep", "unchanged"), CHILD: ("build", "inputs changed")}
    done = repository.push()
    assert done.status == 0, done.errors
    now = {row["variant"]: row["digest"] for row in done.rows}
    assert now[PLAIN] == first[PLAIN]
    assert now[CHILD] != first[CHILD]
    assert repository.tags("hypercorn-fastapi")[TAG] == now[CHILD]
    assert repository.tags("hypercorn-fastapi")[f"{TAG}-{DAY}"] == first[CHILD]
    assert f"{TAG}-{DAY} is there already and stays" in done.rows[1]["reason"]
    parent, child = (layers(client, repository, name.partition(":")[0], now[name]) for name in (PLAIN, CHILD))
    assert child[: len(parent)] == parent
