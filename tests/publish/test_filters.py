"""What a filter names is built, planned and published whatever state the locks of other Pythons are in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from imagematrix import cli
from imagematrix.build import local
from imagematrix.errors import UserError
from imagematrix.machine import address, engine
from imagematrix.publish import commit, plan, push
from imagematrix.render.render import render
from tests.conftest import Repository

DAMAGES = [lambda path: path.unlink(), lambda path: path.write_text("damaged\n"), lambda path: path.write_text("")]
OTHER, ASKED = "locks/python3.8.txt", ("--python", "3.13")


@pytest.fixture(params=DAMAGES, ids=["missing", "damaged", "empty"])
def damaged(generated: Repository, request: pytest.FixtureRequest) -> Repository:
    """A repository whose build/ is fresh, and then the lock of Python 3.8 breaks."""
    damage: Callable[[Path], object] = request.param
    damage(generated.root / OTHER)
    return generated


@pytest.fixture(autouse=True)
def nothing_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "why_silent", lambda host: "no engine is needed")
    monkeypatch.setattr(engine, "ensure", lambda: SimpleNamespace(buildx=[]))
    monkeypatch.setattr(plan, "Registry", lambda buildx: SimpleNamespace(inspect=lambda reference: None))


def test_build(damaged: Repository) -> None:
    done = damaged.run("--dry-run", *ASKED, main=local.main)
    assert (done.status, done.err) == (0, "")
    assert "hypercorn:python3.13-slim" in done.out.splitlines()
    assert damaged.run("--dry-run", main=local.main).err.startswith(f"{OTHER}:")


def test_build_sees_an_old_entry_in_the_bake_file(damaged: Repository) -> None:
    path = damaged.build / "docker-bake.json"
    bake = json.loads(path.read_text())
    bake["target"]["hypercorn-python3-13-slim"]["labels"] = {}
    path.write_text(json.dumps(bake))
    done = damaged.run("--dry-run", *ASKED, main=local.main)
    assert (done.status, done.err) == (1, "build/docker-bake.json: is stale; run: make generate\n")


def test_plan(damaged: Repository) -> None:
    done = damaged.run("--json", *ASKED, main=plan.main)
    assert done.status == 0, done.err
    assert {(one["action"], one["reason"]) for one in json.loads(done.out)} == {("build", "new")}
    assert {one["tag"].partition("-")[0] for one in json.loads(done.out)} == {"python3.13"}
    assert damaged.run("--json", main=plan.main).err.startswith(f"{OTHER}:")


def test_push(damaged: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "refuse_unless_committed", lambda root: None)
    matrix = damaged.load()
    variants = tuple(one for one in matrix.variants if one.python.version == "3.13")
    matrix.locks._bases = {one.base: one.base_digest or f"sha256:{'0' * 64}" for one in variants}
    where = plan.destination(matrix, "127.0.0.1:5000/mine")

    def refuse() -> None:
        push.refuse(damaged.root, where, render(matrix, damaged.root, cli.with_parents(variants)), variants)

    with pytest.raises(UserError, match="build/ is stale"):  # the Dockerfiles do not name these digests yet
        refuse()
    matrix.locks._bases = None
    pinned = dict.fromkeys((one.base for one in variants), f"sha256:{'0' * 64}")
    (damaged.root / "locks/bases.json").write_text(json.dumps(pinned))
    assert damaged.run(*ASKED).status == 0
    refuse()
