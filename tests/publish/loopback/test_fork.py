"""Another server from a matrix of its own: the steps of docs/fork.md, with tests/fork as the repository.

Nothing in imagematrix/ is edited for it. Locks are found, images are built on two stand-ins, proved and published.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from imagematrix import cli
from imagematrix.machine import engine
from imagematrix.matrix.loading import load
from tests.publish.loopback.conftest import Repository, git, offer_base
from tests.publish.loopback.registry import Registry

FORK = Path(__file__).parents[2] / "fork"
TAGS = ("python3.13-slim", "python3.13-alpine")


@pytest.fixture(scope="module")
def fork(
    origin: Repository, host: engine.Engine, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Repository:
    """A repository that holds the matrix of tests/fork and nothing of Hypercorn."""
    root = tmp_path_factory.mktemp("fork") / "repository"
    shutil.copytree(FORK, root)
    git(root, "init", "-q")
    for base in {variant.base for variant in load(root).variants}:
        offer_base(host, registry, base)
    made = dataclasses.replace(origin, root=root, environment={**origin.environment, "PYTHONPATH": str(cli.ROOT)})
    return made.elsewhere("fork")


def test_another_server_is_locked_generated_built_proved_and_published(fork: Repository) -> None:
    for verb in ("find.wheels", "find.digests", "render.generate"):
        done = fork.run(verb)
        assert done.status == 0, done.errors
    rendered = [path.read_text() for path in (fork.root / "build").rglob("*") if path.is_file()]
    assert not any("hypercorn" in text for text in rendered)
    fork.commit(generate=False)
    for tag in TAGS:
        digests = fork.published("--unsigned", tag=tag)
        assert set(digests) == {f"uvicorn:{tag}", f"uvicorn-starlette:{tag}"}
    version = next(iter(load(fork.root).variants)).server_version
    assert {"latest", f"{version}-{TAGS[0]}", *TAGS} <= set(fork.tags("uvicorn"))


def test_a_matrix_without_the_keys_of_a_root_image_says_which(fork: Repository, tmp_path: Path) -> None:
    root = tmp_path / "incomplete"
    shutil.copytree(FORK, root)
    text = (root / "matrix.yaml").read_text()
    (root / "matrix.yaml").write_text(text.replace("    runtime: runtime\n", ""))
    done = dataclasses.replace(fork, root=root).run("render.generate", "--validate")
    assert done.status == 2
    assert "images.uvicorn.runtime is missing" in done.errors
