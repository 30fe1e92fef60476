"""`make build` takes the base that locks/bases.json pins from a real registry, whatever its tag names now, or none."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest
from docker.errors import APIError

from imagematrix.machine import base_image, engine, images
from tests.images.container import archive
from tests.publish.loopback.conftest import BASE, RUN, Repository, push_image
from tests.publish.loopback.registry import Registry

NAME = f"hcimg-{RUN}:base"
"""Not an official name: other runs on this engine would take it for the base."""


@dataclass(frozen=True)
class Offer:
    """What the registry has under the name: the digests, the older one first."""

    old: str
    new: str


@pytest.fixture(scope="module")
def offer(host: engine.Engine, registry: Registry) -> Iterator[Offer]:
    """Two images of a few bytes, pushed one after the other under the same tag, and no longer on the engine."""
    client, reference = host.client(), f"{registry.address}/library/{NAME}"
    digests = []
    for text in ("old", "new"):
        context = io.BytesIO(archive({"Dockerfile": "FROM scratch\nCOPY word /\n", "word": text}))
        client.images.build(fileobj=context, custom_context=True, tag=reference, rm=True)
        push_image(host, reference)
        digests.append(client.images.get(reference).attrs["RepoDigests"][0].partition("@")[2])
        client.images.remove(reference)
    yield Offer(*digests)
    for image in client.images.list(filters={"reference": f"*/library/{NAME.partition(':')[0]}"}):
        for name in [*image.tags, *image.attrs["RepoDigests"]]:
            with suppress(APIError):
                client.images.remove(name)


@pytest.fixture(autouse=True)
def mirror(registry: Registry, host: engine.Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("BASE_MIRROR", registry.address)
    yield
    with suppress(APIError):
        host.client().images.remove(NAME)


def obtain(host: engine.Engine, pin: str | None) -> base_image.Base | base_image.Unavailable:
    return images.obtain(host, [NAME], {NAME: pin})[NAME]


def test_the_pinned_one_is_taken_and_not_the_newest(host: engine.Engine, offer: Offer) -> None:
    newest = obtain(host, None)
    assert isinstance(newest, base_image.Base)
    assert newest.digest == offer.new
    pinned = obtain(host, offer.old)
    assert isinstance(pinned, base_image.Base)
    assert (pinned.reference, pinned.digest, pinned.standin) == (NAME, offer.old, False)
    assert pinned.image_id != newest.image_id
    assert host.client().images.get(NAME).id == pinned.image_id
    assert obtain(host, offer.old) == pinned, "now the engine has it"


def test_one_that_nobody_has_is_refused(host: engine.Engine, offer: Offer) -> None:
    found = obtain(host, f"sha256:{'0' * 64}")
    assert isinstance(found, base_image.Unavailable)
    assert found.refused
    assert f"which locks/bases.json pins for {NAME}" in found.reason
    assert "\n" not in found.reason


def test_a_build_on_another_one_fails_with_one_line_for_each_variant(repository: Repository, offer: Offer) -> None:
    unchecked = f'"{NAME}"}}\n    unchecked: {{alpine: "Python 3.13 on Alpine"}}'
    repository.edit("matrix.yaml", f'"{BASE}"}}', unchecked)
    (repository.root / "locks/bases.json").write_text(json.dumps({NAME: f"sha256:{'0' * 64}"}))
    repository.commit()
    done = repository.run("build.local", "--json", "--tag", "python3.13-alpine")
    assert done.status == 1
    assert [row["status"] for row in done.rows] == ["failed", "failed"]
    assert all("which locks/bases.json pins" in row["reason"] for row in done.rows)
