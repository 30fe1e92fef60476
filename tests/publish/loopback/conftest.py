"""A registry and a builder for as long as the tests of publishing run, and for each module a repository to publish.

The builder is the stand-in for BuildKit; the bases are what this machine has, pushed to the registry as if it were a
mirror of Docker Hub. Everything is named after this run and gone when it ends.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from imagematrix import cli
from imagematrix.machine import base_image, buildkit_standin, engine, images
from imagematrix.machine.apt import is_debian
from imagematrix.matrix.loading import load
from imagematrix.prove import sign
from imagematrix.registry import Registry as Client
from tests.publish.loopback.registry import Registry, Request, passing

TAG = "python3.13-alpine"
BASE = "python:3.13-alpine3.24"
RUN = uuid.uuid4().hex[:8]
DAY = "20250601"
"""The day of every commit that the tests make, and so of dated tags."""
ONE = ("--image", "hypercorn", "--unsigned")
"""The plain image alone, for tests of what can go wrong on the way."""


def is_moving_tag(request: Request) -> bool:
    """Say whether the tag is sent that moves last."""
    return request.tag == TAG


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: run only when FULL is set")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not os.environ.get("FULL"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="takes long: make test-publish runs it"))


@pytest.fixture(scope="session")
def host() -> engine.Engine:
    if os.geteuid() != 0 or not is_debian():
        pytest.skip("the registry and the stand-in for BuildKit need root on Debian or Ubuntu")
    return engine.ensure()


@pytest.fixture(scope="session")
def registry(host: engine.Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    one = Registry(tmp_path_factory.mktemp("registry") / "data")
    one.start()
    yield one
    one.close()


@pytest.fixture(autouse=True)
def working_again(registry: Registry) -> Iterator[None]:
    yield
    registry.fault = passing
    if registry.process is None:
        registry.start()


@pytest.fixture(scope="session")
def builder(host: engine.Engine) -> Iterator[str]:
    name = f"hcimg-{RUN}-a"
    with buildkit_standin.stand_in(host, name):
        yield name


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("key")
    make_key(folder)
    return folder / "cosign.key"


def make_key(folder: Path) -> None:
    command = [sign.cosign(), "generate-key-pair"]
    subprocess.run(command, cwd=folder, env={**os.environ, "COSIGN_PASSWORD": "test"}, check=True, capture_output=True)


def offer_base(host: engine.Engine, registry: Registry, name: str) -> None:
    """Push a base that this machine has to the registry, under the official name."""
    found = images.obtain(host, [name])[name]
    if isinstance(found, base_image.Unavailable):
        pytest.skip(f"{name} cannot be had here: {found.reason}")
    reference, client = f"{registry.address}/library/{name}", host.client()
    client.images.get(found.reference).tag(reference)
    try:
        push_image(host, reference)
    finally:
        client.images.remove(reference)


def push_image(host: engine.Engine, reference: str) -> None:
    """Push an image of the engine."""
    for line in host.client().images.push(reference, stream=True, decode=True):
        assert "error" not in line, line


@dataclass(frozen=True)
class Result:
    status: int
    output: str
    errors: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        return list(json.loads(self.output))


@dataclass(frozen=True)
class Repository:
    """A clone of this repository that publishes to the test's registry, and what it runs there."""

    root: Path
    registry: Registry
    environment: dict[str, str]

    def run(self, verb: str, *arguments: str, **environment: str) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", f"imagematrix.{verb}", "--root", str(self.root), *arguments],
            cwd=self.root,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Result(done.returncode, done.stdout, done.stderr)

    def plan(self, *filters: str) -> dict[str, tuple[str, str]]:
        rows = self.run("publish.plan", "--json", *(filters or ("--tag", TAG))).rows
        return {f"{row['image']}:{row['tag']}": (row["action"], row["reason"]) for row in rows}

    def push(self, *arguments: str, tag: str = TAG, **environment: str) -> Result:
        return self.run("publish.push", "--json", "--allow-stand-ins", "--tag", tag, *arguments, **environment)

    def published(self, *arguments: str, **environment: str) -> dict[str, str]:
        """Push, which must succeed; return variant -> digest."""
        done = self.push(*arguments, **environment)
        assert done.status == 0, done.errors + done.output
        return {row["variant"]: row["digest"] for row in done.rows}

    def completes(self, *arguments: str) -> None:
        """Do what every interrupted publication of the plain image must when it is run again."""
        digests = self.published(*arguments)
        assert set(self.tags()) == self.all_tags("hypercorn")
        assert set(self.tags().values()) == set(digests.values())
        assert {action for action, _ in self.plan("--tag", TAG, "--image", "hypercorn").values()} == {"keep"}

    def tags(self, image: str = "hypercorn") -> dict[str, str]:
        return self.registry.tags(f"{self.environment['REGISTRY'].partition('/')[2]}/{image}")

    def all_tags(self, image: str) -> set[str]:
        """The tags that an image should have when it is published."""
        variant = next(one for one in load(self.root).variants if one.name == f"{image}:{TAG}")
        return {*variant.tags, *variant.dated_tags(DAY)}

    def edit(self, name: str, pattern: str, new: str) -> None:
        text = (self.root / name).read_text()
        assert re.search(pattern, text), (name, pattern)
        (self.root / name).write_text(re.sub(pattern, new, text, count=1))

    def commit(self, *, generate: bool = True) -> None:
        if generate:
            command = [sys.executable, self.root / "generate.py", "--allow-removal"]
            subprocess.run(command, check=True, capture_output=True)
        git(self.root, "add", "-A")
        git(self.root, "commit", "-qm", "a change")

    def elsewhere(self, namespace: str, **environment: str) -> Repository:
        """The same, published below another namespace, where nothing is yet."""
        registry = f"{self.registry.address}/{namespace}"
        return dataclasses.replace(self, environment={**self.environment, "REGISTRY": registry, **environment})


def git(root: Path, *arguments: str) -> None:
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    day = f"{DAY[:4]}-{DAY[4:6]}-{DAY[6:]}T12:00:00Z"
    environment = {**os.environ, "GIT_AUTHOR_DATE": day, "GIT_COMMITTER_DATE": day}
    subprocess.run(["git", *who, *arguments], cwd=root, env=environment, check=True, capture_output=True)


@pytest.fixture(scope="module")
def repository(
    origin: Repository, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Repository:
    """A clone of the origin that a module may change, and a namespace of its own to publish it to."""
    name = request.module.__name__.rpartition("test_")[2]
    root = tmp_path_factory.mktemp("repository") / "clone"
    git(origin.root, "clone", "-q", "--no-hardlinks", str(origin.root), str(root))
    moved = dataclasses.replace(origin, root=root, environment={**origin.environment, "PYTHONPATH": str(root)})
    return moved.elsewhere(name)


@pytest.fixture(scope="module")
def small(repository: Repository) -> Repository:
    """The module's repository with images that install next to nothing: for tests that are not about their content."""
    repository.edit("matrix.yaml", r"  h3: .*?\n  trio: .*?\n", "")
    repository.edit("matrix.yaml", r"extras: \[h3, trio, uvloop\]", "extras: []")
    packages = 'packages: ["hypercorn>=0.17.3"]\n    extras: [uvloop]'
    repository.edit("matrix.yaml", r'packages: \["fastapi.*?"\]', packages)
    repository.edit("matrix.yaml", r"exclusions:\n(?s:.*?)\n\n", "exclusions: []\n\n")
    repository.commit()
    return repository


@pytest.fixture(scope="session")
def origin(
    tmp_path_factory: pytest.TempPathFactory, host: engine.Engine, registry: Registry, builder: str, key: Path
) -> Repository:
    """A clone with the work tree's state, for one platform, its base pinned to what the registry has."""
    root = tmp_path_factory.mktemp("origin") / "clone"
    git(cli.ROOT, "clone", "-q", "--no-hardlinks", str(cli.ROOT), str(root))
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=cli.ROOT, capture_output=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (cli.ROOT / name).exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(cli.ROOT / name, root / name)
    offer_base(host, registry, BASE)
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("SOURCE_DATE_EPOCH", "PYTHONPATH")},
        "REGISTRY": f"{registry.address}/nowhere",
        "BASE_MIRROR": registry.address,
        "BUILDER": builder,
        "COSIGN_KEY": str(key),
        "COSIGN_PASSWORD": "test",
        "PYTHONPATH": str(root),
    }
    made = Repository(root, registry, environment)
    made.edit("matrix.yaml", r"platforms: .*", "platforms: [linux/amd64]")
    locked = made.run("find.digests", "--tag", TAG)
    assert locked.status == 0, locked.errors
    made.commit()
    return made


@pytest.fixture(scope="session")
def client(host: engine.Engine) -> Client:
    return Client(host.buildx)


def verified(repository: Repository, key: Path, image: str, digest: str, kind: str = "") -> list[dict[str, Any]]:
    """Return what cosign finds to be signed by the key: the predicates of that kind, or of a signature nothing."""
    name = f"{repository.environment['REGISTRY']}/{image}@{digest}"
    verb = ["verify-attestation", "--type", kind] if kind else ["verify"]
    command = [sign.cosign(), *verb, "--key", str(key.with_suffix(".pub")), "--insecure-ignore-tlog=true", name]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COSIGN_PASSWORD": "test"})
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.strip()]
    return [json.loads(base64.b64decode(line["payload"]))["predicate"] for line in lines if "payload" in line]
