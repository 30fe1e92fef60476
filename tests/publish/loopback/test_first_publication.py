"""From an empty registry and a fresh fork to published images, by the steps of the workflows alone.

Every `run:` step of every workflow is run here, but those of NOT_HERE. Each test goes on from where the one before left
the origin and the registry.
"""

from __future__ import annotations

import json

import pytest
import yaml

from tests.local import need
from tests.publish.loopback.conftest import TAG, Repository
from tests.workflows import GitHub, all_steps, git

NOT_HERE = {
    ("upstream.yml", "upstream", "make upstream"): "installs the newest upstream releases, which would fail without us",
}
"""Steps that are not run here, each with the reason."""
ON_SLIM = ("tests/images/test_built_examples.py", "tests/images/test_followed_documents.py")
"""Tests of this repository's own pages, which name an OS that the fork below does not have."""


@pytest.fixture(scope="module")
def github(small: Repository, tmp_path_factory: pytest.TempPathFactory) -> GitHub:
    """A fork of one Python on one OS, with nothing locked of its base, and an empty registry."""
    need("jq", "jq")
    path = small.root / "matrix.yaml"
    matrix = yaml.safe_load(path.read_text())
    matrix["pythons"] = {"3.13": matrix["pythons"]["3.13"]}
    matrix["os"] = {"alpine": matrix["os"]["alpine"]}
    matrix["aliases"] = {"alpine": matrix["aliases"]["alpine"]}
    matrix["pythons"]["3.13"]["bases"] = {"alpine": matrix["pythons"]["3.13"]["bases"]["alpine"]}
    path.write_text(yaml.safe_dump(matrix, sort_keys=False))
    for lock in (small.root / "locks").iterdir():
        if lock.name != "python3.13.txt":
            lock.unlink()
    small.run("render.readme")
    small.commit()
    made = GitHub(
        tmp_path_factory.mktemp("github"),
        # Without PYTHONPATH each job has the modules of its own clone. Tests are only collected: they run already.
        {
            **{name: value for name, value in small.environment.items() if name != "PYTHONPATH"},
            "PYTHONPATH": "",
            "ALLOW_STAND_INS": "1",
            "PYTEST_ADDOPTS": f"--collect-only --quiet {' '.join(f'--ignore={path}' for path in ON_SLIM)}",
        },
    )
    made.create(small.root)
    return made


def test_publishing_before_the_bases_are_pinned_says_what_to_do(github: GitHub) -> None:
    job = github.job("publish.yml", "plan")
    job.passes("make check")
    job.passes("jq")
    assert job.outputs()["registry"] == "docker.io"
    assert json.loads(job.outputs()["repositories"]) == ["hypercorn/hypercorn", "hypercorn/hypercorn-fastapi"]
    done = job.run("plan FORMAT=jobs")
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert line.startswith("locks/bases.json has no digest of python:3.13-alpine3.24: run make lock and commit")
    assert "the workflow Refresh locks" in line
    assert "jobs" not in job.outputs()


def test_refreshing_opens_a_pull_request_with_every_file_and_starts_its_ci(github: GitHub) -> None:
    job = github.job("refresh.yml", "lock", github_token="secret")
    for step in ("make outdated", "make lock", "make generate", "gh pr create"):
        job.passes(step)
    files = git(github.origin, "ls-tree", "-r", "--name-only", "refresh-locks").split()
    assert "locks/bases.json" in files
    assert git(job.root, "status", "--porcelain") == "", "no file was left out"
    assert [call[:2] for call in github.asked()] == [["pr", "view"], ["pr", "create"], ["workflow", "run"]]
    assert github.asked()[-1] == ["workflow", "run", "ci.yml", "--ref", "refresh-locks"]


def test_a_lock_that_could_not_be_renewed_fails_the_run(github: GitHub) -> None:
    done = github.job("refresh.yml", "lock").run("::error::")
    assert done.returncode == 1
    assert "::error::not every lock could be renewed" in done.stdout


def test_its_ci_tests_what_it_changes(github: GitHub) -> None:
    job = github.job("ci.yml", "check", "refresh-locks")
    job.passes("make check unit")
    job.passes("plan FORMAT=tests")
    assert [one["tag"] for one in json.loads(job.outputs()["jobs"])] == [TAG]
    github.job("ci.yml", "build", "refresh-locks", matrix_tag=TAG).passes("make smoke")


def test_merging_publishes(github: GitHub, small: Repository) -> None:
    git(github.origin, "update-ref", "refs/heads/main", "refs/heads/refresh-locks")
    job = github.job("publish.yml", "plan")
    job.passes("make check")
    job.passes("plan FORMAT=jobs")
    assert [one["tag"] for one in json.loads(job.outputs()["jobs"])] == [TAG]
    builder = small.environment["BUILDER"]
    github.job("publish.yml", "push", matrix_tag=TAG, steps_buildx_outputs_name=builder).passes("make push")
    for image in ("hypercorn", "hypercorn-fastapi"):
        assert {TAG, "alpine"} <= set(small.tags(image))


def test_what_is_published_is_not_published_again_and_still_tested(github: GitHub) -> None:
    job = github.job("publish.yml", "plan")
    job.passes("plan FORMAT=jobs")
    assert json.loads(job.outputs()["jobs"]) == []
    job = github.job("ci.yml", "check")
    job.passes("plan FORMAT=tests")
    assert [one["tag"] for one in json.loads(job.outputs()["jobs"])] == [TAG]


def test_every_step_of_every_workflow_was_run(github: GitHub) -> None:
    assert github.executed | set(NOT_HERE) == all_steps()
    assert not github.executed & set(NOT_HERE)
