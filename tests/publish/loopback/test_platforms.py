"""amd64 and arm64 in one index: built, started, described and signed on both. arm64 is emulated, and slow."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from imagematrix.errors import UserError
from imagematrix.machine import apt, artefacts, engine
from imagematrix.machine.catalogue import standin_for
from imagematrix.machine.standins import image_settings, make_all
from imagematrix.registry import Registry as Client
from tests.publish.loopback import emulation
from tests.publish.loopback.conftest import Repository, verified

pytestmark = pytest.mark.slow
TAG, BASE = "python3.13-slim", "python:3.13-slim-trixie"
PLATFORMS = {"amd64": "slim-3.13-trixie", "arm64": "slim-3.13-trixie-arm64"}


@pytest.fixture(scope="module")
def both(repository: Repository, host: engine.Engine, builder: str, tmp_path_factory: Any) -> Repository:
    """The repository for both platforms, with a base for both in the registry."""
    try:
        emulation.ensure("linux/arm64")
        apt.install_packages(["arch-test"], "unpacking Debian for linux/arm64")
        artefacts.make_artefact(PLATFORMS["arm64"], "slim-arm64.sh", ["3.13", "trixie"])
        make_all([standin_for(BASE)])
    except UserError as error:
        pytest.skip(f"no linux/arm64 here: {error}")
    offer_base(host, builder, repository, tmp_path_factory.mktemp("base"))
    there = repository.elsewhere("platforms")
    there.edit("matrix.yaml", r"platforms: .*", "platforms: [linux/amd64, linux/arm64]")
    locked = there.run("find.digests", "--tag", TAG)
    assert locked.status == 0, locked.errors
    there.commit()
    return there


def offer_base(host: engine.Engine, builder: str, repository: Repository, context: Path) -> None:
    """Push one index of stand-ins for both platforms under the official name."""
    for name, artefact in PLATFORMS.items():
        os.link(artefacts.artefact_path(artefact) / "root.tar", context / f"{name}.tar")
    settings = "\n".join(image_settings(BASE, "3.13.0"))
    (context / "Dockerfile").write_text(f"FROM scratch\nARG TARGETARCH\nADD $TARGETARCH.tar /\n{settings}\n")
    command = [*host.buildx, "build", "--builder", builder, "--quiet", "--provenance=false", "--push"]
    command += ["--platform", "linux/amd64,linux/arm64", "--tag", f"{repository.registry.address}/library/{BASE}"]
    subprocess.run([*command, str(context)], check=True, stdout=subprocess.DEVNULL)


def test_both_platforms_are_in_one_index(both: Repository, client: Client, key: Path) -> None:
    done = both.push("--image", "hypercorn", tag=TAG)
    assert done.status == 0, done.errors
    assert "starting it on linux/arm64" in done.errors
    digest = done.rows[0]["digest"]
    index = client.inspect(f"{both.environment['REGISTRY']}/hypercorn:{TAG}")
    assert index
    assert index.digest == digest
    assert set(index.platforms) == {"linux/amd64", "linux/arm64"}
    verified(both, key, "hypercorn", digest)
    for platform, one in index.platforms.items():
        verified(both, key, "hypercorn", one)
        (contents,) = verified(both, key, "hypercorn", one, "cyclonedx")
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(contents)) is None
        kinds = {entry["purl"].partition("/")[0] for entry in contents["components"]}
        # Debian's packages are unpacked and not installed in arm64's stand-in, so it has no list of them.
        assert kinds == ({"pkg:pypi", "pkg:deb"} if platform == "linux/amd64" else {"pkg:pypi"})
        (source,) = verified(both, key, "hypercorn", one, "slsaprovenance1")
        assert source["buildDefinition"]["externalParameters"]["platform"] == platform
