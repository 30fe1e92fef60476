"""What is called after the project: a fork changes one line of its matrix.yaml."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

SAID = """
import json
from imagematrix.machine import base_image, buildkit, cache, standins
host = type("Host", (), {"buildx": ["true"]})
buildkit._driver = lambda host_engine, name: "docker-container"
print(json.dumps({
    "cache": cache.cache_folder().name,
    "builders": buildkit.builders(host, ""),
    "standin": [one for one in standins.image_settings("python:3.13-slim", "3.13.0") if one.endswith("standin=true")],
}))
"""


@pytest.fixture
def fork(tmp_path: Path) -> Path:
    """A fork of this repository with the matrix of tests/fork."""
    root = tmp_path / "fork"
    shutil.copytree(REPOSITORY / "tests/fork", root)
    shutil.copytree(REPOSITORY / "imagematrix", root / "imagematrix", ignore=shutil.ignore_patterns("__pycache__"))
    return root


def say(fork: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "XDG_CACHE_HOME": str(fork / "cache")}
    command = [sys.executable, "-c", SAID]
    return subprocess.run(command, cwd=fork, env=environment, capture_output=True, text=True)


def test_cache_builder_and_stand_ins_of_a_fork_have_its_name(fork: Path) -> None:
    done = say(fork)
    assert json.loads(done.stdout) == {
        "cache": "uvicorn-images",
        "builders": ["uvicorn-images"],
        "standin": ["LABEL io.uvicorn-images.standin=true"],
    }


@pytest.mark.parametrize("text", ["project: {name: ../x}\n", "project:\n", "a: b: c\n", "[]\n", ""])
def test_a_name_that_cannot_be_read_is_one_clear_error(fork: Path, text: str) -> None:
    (fork / "matrix.yaml").write_text(text)
    done = say(fork)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].endswith("matrix.yaml: project.name cannot be read; run: make check")
