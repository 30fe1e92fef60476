"""Runs the `run:` steps of the workflows as GitHub does: bash -e, the step's environment, a clone for each job."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from imagematrix import cli

FOLDER = cli.ROOT / ".github/workflows"
FILES = sorted(FOLDER.glob("*.yml"))
GH = """\
#!/usr/bin/env python3
import json, pathlib, sys
calls = pathlib.Path(__file__).with_name("calls")
words = sys.argv[1:]
opened = calls.exists() and '"create"' in calls.read_text()
with calls.open("a") as file:
    file.write(json.dumps(words) + chr(10))
if words[:2] == ["pr", "view"]:
    sys.exit("no pull requests found for branch") if not opened else print("OPEN")
"""
"""A `gh` that records its arguments. It knows no pull request until one was created, as the real one."""

Step = tuple[str, str, str]
"""Workflow, job and script of a step."""


def read(name: str) -> dict[Any, Any]:
    return dict(yaml.safe_load((FOLDER / name).read_text()))


def all_steps() -> set[Step]:
    """Return every `run:` step of every workflow."""
    return {
        (path.name, name, step["run"])
        for path in FILES
        for name, job in read(path.name)["jobs"].items()
        for step in job["steps"]
        if "run" in step
    }


def git(root: Path, *arguments: str) -> str:
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *who, *arguments], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass
class GitHub:
    """A bare repository as origin, runners that clone it, and a record of what was run and asked of `gh`."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    executed: set[Step] = field(default_factory=set)

    @property
    def origin(self) -> Path:
        return self.folder / "origin.git"

    def create(self, source: Path) -> None:
        """Make the origin from what is committed in `source`, as branch main, and install the recording gh."""
        git(self.folder, "clone", "-q", "--bare", "--no-hardlinks", str(source), str(self.origin))
        git(self.origin, "update-ref", "refs/heads/main", "HEAD")
        git(self.origin, "symbolic-ref", "HEAD", "refs/heads/main")
        (self.folder / "bin").mkdir()
        (self.folder / "bin/gh").write_text(GH)
        (self.folder / "bin/gh").chmod(0o755)

    def asked(self) -> list[list[str]]:
        """Return the arguments of every call of gh."""
        calls = self.folder / "bin/calls"
        return [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []

    def job(self, workflow: str, name: str, branch: str = "main", **context: str) -> Job:
        """Start a job on a branch. `context` gives the expressions that its steps use, with _ for what is no letter."""
        entry = read(workflow)["jobs"][name]
        root = self.folder / f"{workflow}-{name}-{len(list(self.folder.iterdir()))}"
        checkout = next(step for step in entry["steps"] if step.get("uses", "").startswith("actions/checkout@"))
        depth = checkout.get("with", {}).get("fetch-depth", 1)
        shallow = ["--depth", str(depth)] if depth else []
        git(self.folder, "clone", "-q", "--branch", branch, *shallow, f"file://{self.origin}", str(root))
        lend_tools(root / ".venv")
        return Job(self, workflow, name, entry["steps"], root, context)


def lend_tools(venv: Path) -> None:
    """Make a .venv of links to this one's. `make` takes it for newer than any requirements.txt."""
    venv.mkdir()
    for path in Path(sys.prefix).iterdir():
        if path.name != "ready":
            (venv / path.name).symlink_to(path.resolve())
    (venv / "ready").touch()
    os.utime(venv / "ready", (4e9, 4e9))


@dataclass
class Job:
    """A job on a runner of its own."""

    github: GitHub
    workflow: str
    name: str
    steps: list[dict[str, Any]]
    root: Path
    context: dict[str, str]

    def run(self, containing: str) -> subprocess.CompletedProcess[str]:
        """Run the one step whose script is, or else has, that text."""
        scripts = [step for step in self.steps if "run" in step]
        exact = [step for step in scripts if step["run"].strip() == containing]
        (step,) = exact or [step for step in scripts if containing in step["run"]]
        self.github.executed.add((self.workflow, self.name, step["run"]))
        done = subprocess.run(
            ["bash", "-e", "-c", step["run"]],
            cwd=self.root,
            env={**os.environ, **self.github.environment, **self._environment(step)},
            capture_output=True,
            text=True,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def passes(self, containing: str) -> None:
        """Run a step, which must succeed."""
        done = self.run(containing)
        assert done.returncode == 0, done.stdout + done.stderr

    def outputs(self) -> dict[str, str]:
        """Return the outputs of the steps so far."""
        path = self.root / ".git/outputs"
        return dict(line.split("=", 1) for line in path.read_text().splitlines()) if path.exists() else {}  # type: ignore[misc]

    def _environment(self, step: dict[str, Any]) -> dict[str, str]:
        given = {name: re.sub(r"\${{ (.+?) }}", self._value, str(text)) for name, text in step.get("env", {}).items()}
        path = f"{self.github.folder / 'bin'}:{os.environ['PATH']}"
        return {"PATH": path, "GITHUB_OUTPUT": str(self.root / ".git/outputs"), **given}

    def _value(self, expression: re.Match[str]) -> str:
        return self.context[re.sub(r"\W", "_", expression[1])]
