"""The linters, each a test, so that one command tells everything. What they say is in the failure."""

from __future__ import annotations

import subprocess

import pytest

from tests.conftest import REPOSITORY
from tests.local import SCRIPTS


def tracked(*patterns: str) -> list[str]:
    """Return what git has of these patterns; without git, what is there."""
    try:
        done = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=REPOSITORY, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("needs git")
    if done.returncode:
        pytest.skip("needs a git checkout")
    return [name for name in done.stdout.split("\0") if name and (REPOSITORY / name).is_file()]


def lint(command: str, *arguments: str) -> None:
    done = subprocess.run(
        [SCRIPTS / command, *arguments], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        pytest.fail(f"{command} {arguments[0] if arguments else ''}\n{done.stdout}", pytrace=False)


def test_ruff() -> None:
    lint("ruff", "check", "--no-cache")


def test_ruff_format() -> None:
    lint("ruff", "format", "--check", "--diff", "--no-cache")


def test_mypy() -> None:
    lint("mypy")


def test_hadolint() -> None:
    files = sorted(str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob("build/*/*/Dockerfile"))
    assert files
    lint("hadolint", *files)


def test_shellcheck() -> None:
    files = tracked("*.sh", ".ci/run")
    assert files
    lint("shellcheck", *files)


def test_what_is_copied_into_images_says_its_license() -> None:
    """It travels without LICENSE: https://spdx.dev/learn/handling-license-info/."""
    files = [*tracked("runtime/**.py", "runtime/**.sh"), *tracked("build/**Dockerfile")]
    assert len(files) > 60
    heads = {name: (REPOSITORY / name).read_text(encoding="utf-8").splitlines()[:6] for name in files}
    assert [name for name, head in heads.items() if "# SPDX-License-Identifier: MIT" not in head] == []
