"""Names of registries, and reading what `imagetools inspect` prints."""

from __future__ import annotations

import pytest

from imagematrix.registry import Published, complaint, is_loopback, parse


@pytest.mark.parametrize("host", ["127.0.0.1:5000", "127.8.8.8", "localhost", "localhost:80", "[::1]:5000"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["docker.io", "ghcr.io", "10.0.0.1:5000", "localhost.example.org", "192.168.1.1"])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_an_index_has_a_digest_for_each_platform_and_the_labels_of_the_first() -> None:
    platforms = [
        {"digest": "sha256:2", "platform": {"os": "linux", "architecture": "amd64"}},
        {"digest": "sha256:3", "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
        {"digest": "sha256:4", "platform": {"os": "unknown", "architecture": "unknown"}},
    ]
    image = {"linux/amd64": {"config": {"Labels": {"a": "b"}}}, "linux/arm64": {}}
    answer = {"manifest": {"digest": "sha256:1", "manifests": platforms}, "image": image}
    assert parse(answer) == Published("sha256:1", {"linux/amd64": "sha256:2", "linux/arm64": "sha256:3"}, {"a": "b"})


def test_a_manifest_counts_as_an_index_of_one() -> None:
    image = {"os": "linux", "architecture": "amd64", "config": {}}
    answer = {"manifest": {"digest": "sha256:1"}, "image": image}
    assert parse(answer) == Published("sha256:1", {"linux/amd64": "sha256:1"}, {})


def test_the_line_that_says_why() -> None:
    assert complaint("#1 x\n\x1b[31mERROR: failed to solve: no space left\x1b[0m\n") == "no space left"
    assert complaint("") == "failed without output"
