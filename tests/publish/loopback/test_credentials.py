"""A registry that wants a login: it comes from the engine's own configuration, and shows nowhere."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagematrix.machine import cache
from imagematrix.registry import Registry as Client
from tests.publish.loopback.conftest import TAG, Repository
from tests.publish.loopback.registry import Registry

SECRET = "not-for-your-eyes"
HTPASSWD = "somebody:$2b$05$abcdefghijklmnopqrstuuwxUye3wxgSnoHMxGwv5wgEd02ANQHy.\n"
"""SECRET, as htpasswd -B writes it."""


@pytest.fixture
def locked(repository: Repository, tmp_path: Path) -> Iterator[Repository]:
    """The repository, published to a registry that asks who comes."""
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    one = Registry(tmp_path / "data", f"auth: {{htpasswd: {{realm: test, path: {tmp_path}/htpasswd}}}}\n")
    one.start()
    environment = {**repository.environment, "REGISTRY": f"{one.address}/locked", "DOCKER_CONFIG": str(tmp_path)}
    yield dataclasses.replace(repository, registry=one, environment=environment)
    one.close()


def test_the_login_is_used_and_shows_nowhere(
    locked: Repository, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = locked.push("--image", "hypercorn")
    assert without.status == 1
    assert "no basic auth credentials" in without.errors + without.output or "401" in without.output, without.output
    login = {"auth": base64.b64encode(f"somebody:{SECRET}".encode()).decode()}
    (tmp_path / "config.json").write_text(json.dumps({"auths": {locked.registry.address: login}}))
    done = locked.push("--image", "hypercorn")
    assert done.status == 0, done.errors
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    name = f"{locked.environment['REGISTRY']}/hypercorn:{TAG}"
    shown = client._run(["inspect", "--format", "{{json .}}", name], name) or ""
    logs = [path.read_text(errors="replace") for path in (cache.cache_folder() / "log").glob("push-*.log")]
    for text in (done.output, done.errors, without.output, without.errors, shown, *logs):
        assert SECRET not in text
        assert login["auth"] not in text
    blobs = [path.read_bytes() for path in (tmp_path / "data").rglob("data")]
    assert [blob for blob in blobs if blob.startswith(b"\x1f\x8b")]
    assert not [blob for blob in blobs if SECRET.encode() in plain(blob)]


def plain(blob: bytes) -> bytes:
    """Return a layer as it was before it was compressed, anything else as it is."""
    return gzip.decompress(blob) if blob.startswith(b"\x1f\x8b") else blob
