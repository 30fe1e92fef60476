"""amd64 and arm64 in one index: built, started and described on both. Slow: arm64 is emulated."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from imagematrix import emulation, engine, host
from imagematrix.bases import image_settings, obtain
from imagematrix.build import say
from imagematrix.errors import UserError
from imagematrix.registry import Registry as Client
from tests.publish.conftest import Repository
from tests.publish.registry import Registry

pytestmark = pytest.mark.xdist_group("publish")
TAG, BASE = "python3.13-slim", "python:3.13-slim-trixie"
PLATFORMS = {"linux/amd64", "linux/arm64"}


@pytest.fixture(scope="module")
def both(repository: Repository, registry: Registry, host_engine: engine.Engine, builder: str, tmp_path_factory) -> Repository:
    """The repository for both platforms, with a base for both in the registry."""
    try:
        emulation.ensure("linux/arm64", say)
        host.install_packages(["arch-test"], "unpacking Debian for linux/arm64", say)
        artefacts = {"linux/arm64": host.make_artefact("slim-3.13-trixie-arm64", "slim-arm64.sh", ["3.13", "trixie"], say)}
        obtain(host_engine, [BASE], say)
        artefacts["linux/amd64"] = host.artefact_path("slim-3.13-trixie")
    except UserError as error:
        pytest.skip(f"no linux/arm64 here: {error}")
    digests = []
    for platform, folder in artefacts.items():
        digests.append(push_root(host_engine, builder, registry, platform, folder, tmp_path_factory.mktemp("base")))
    Client(host_engine.buildx).combine(digests, f"{registry.address}/library/{BASE}")
    there = repository.elsewhere("platforms")
    there.edit("matrix.yaml", r"platforms: .*", "platforms: [linux/amd64, linux/arm64]")
    locked = there.run("base_lock", "--tag", TAG)
    assert locked.status == 0, locked.errors
    there.commit()
    return there
