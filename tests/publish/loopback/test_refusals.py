"""What `make push` refuses before anything is built, each with one clear line."""

from __future__ import annotations

import pytest

from tests.publish.loopback.conftest import TAG, Repository, git


@pytest.fixture
def clean(repository: Repository) -> Repository:
    """The repository, with nothing in the work tree that is not committed."""
    git(repository.root, "reset", "-q", "--hard")
    git(repository.root, "clean", "-qfd")
    repository.registry.requests.clear()
    return repository


def refused(repository: Repository, *arguments: str, **environment: str) -> str:
    done = repository.run("publish.push", "--tag", TAG, *arguments, **environment)
    assert done.status == 1
    assert len(done.errors.strip().splitlines()) == 1, done.errors
    assert not done.errors.startswith("error"), "as every other verb's"
    assert not [one for one in repository.registry.requests if one.method not in ("GET", "HEAD")]
    return done.errors


def test_a_stand_in(clean: Repository) -> None:
    assert "is a stand-in at" in refused(clean.elsewhere("refused"))


def test_a_dirty_work_tree(clean: Repository) -> None:
    (clean.root / "matrix.yaml").write_text((clean.root / "matrix.yaml").read_text() + "\n")
    assert "the work tree is dirty (matrix.yaml)" in refused(clean)


def test_a_stale_build(clean: Repository) -> None:
    (clean.root / "build/tags.json").write_text("{}\n")
    git(clean.root, "commit", "-qam", "stale")
    try:
        assert "build/ is stale" in refused(clean)
    finally:
        git(clean.root, "reset", "-q", "--hard", "HEAD~1")


def test_a_base_without_a_digest(clean: Repository) -> None:
    done = clean.run("publish.push", "--tag", "python3.9-slim")
    assert done.status == 1
    assert "locks/bases.json has no digest of python:3.9-slim-trixie: run make lock" in done.errors


def test_a_missing_lock(clean: Repository) -> None:
    git(clean.root, "rm", "-q", "locks/python3.13.txt")
    done = clean.run("publish.push", "--tag", TAG)
    assert (done.status, done.errors.strip()) == (2, "locks/python3.13.txt: is missing; run: make lock")


def test_no_credentials(clean: Repository, tmp_path) -> None:
    said = refused(clean, "--registry", "registry.invalid/mine", DOCKER_CONFIG=str(tmp_path))
    assert "no credentials for registry.invalid: docker login registry.invalid" in said


@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["", "in a dry run"])
def test_nothing_to_sign_with(clean: Repository, dry: tuple[str, ...]) -> None:
    there = clean.elsewhere("refused", COSIGN_KEY="", ACTIONS_ID_TOKEN_REQUEST_URL="")
    assert "nothing to sign with" in refused(there, "--allow-stand-ins", *dry)


@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["", "in a dry run"])
def test_a_builder_that_cannot_push_by_digest(clean: Repository, dry: tuple[str, ...]) -> None:
    there = clean.elsewhere("refused")
    assert "cannot push by digest" in refused(there, "--allow-stand-ins", "--builder", "default", *dry)


def test_a_dry_run_prints_the_plan_and_changes_nothing(clean: Repository) -> None:
    done = clean.elsewhere("refused").push("--dry-run")
    assert done.status == 0
    assert {row["action"] for row in done.rows} == {"build"}
    assert not [one for one in clean.registry.requests if one.method not in ("GET", "HEAD")]
