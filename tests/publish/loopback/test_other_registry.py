"""`make build` on a base that another registry has, by its tag and by the digest that locks/bases.json pins."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import suppress

import pytest
from docker.errors import ImageNotFound

from imagematrix.machine import base_image, engine, images
from tests.images.container import archive
from tests.publish.loopback.conftest import BASE, RUN, TAG, Repository, push_image
from tests.publish.loopback.registry import Registry

NAMESPACE = f"hcimg-{RUN}"


@pytest.fixture(scope="module")
def base(host: engine.Engine, registry: Registry) -> Iterator[str]:
    """A Python that only the registry has, and that is no stand-in by its labels."""
    name = f"localhost:{registry.address.rpartition(':')[2]}/{NAMESPACE}/{BASE}"
    found = images.obtain(host, [BASE])[BASE]
    if isinstance(found, base_image.Unavailable):
        pytest.skip(f"{BASE} cannot be had here: {found.reason}")
    text = f"FROM {found.reference}\nLABEL {base_image.own_labels().standin}=false\n"
    context = io.BytesIO(archive({"Dockerfile": text}))
    host.client().images.build(fileobj=context, custom_context=True, tag=name, rm=True)
    push_image(host, name)
    forget(host)
    yield name
    forget(host)


def forget(host: engine.Engine) -> None:
    """Remove from the engine what is called after this module."""
    client = host.client()
    for image in client.images.list():
        for name in (one for one in (*image.tags, *image.attrs.get("RepoDigests", [])) if NAMESPACE in one):
            with suppress(ImageNotFound):  # the digest goes with the last tag
                client.images.remove(name, force=True)


@pytest.fixture(scope="module")
def forked(small: Repository, base: str) -> Repository:
    """The module's repository with that base, and a namespace of its own for what it builds."""
    small.edit("matrix.yaml", BASE, base)
    small.edit("matrix.yaml", r"namespace: \S+", f"namespace: {NAMESPACE}")
    return small


def test_an_image_is_built_on_a_digest(forked: Repository, host: engine.Engine, base: str) -> None:
    """matrix.yaml names the digest, and so locks/bases.json does not."""
    assert forked.run("find.digests", "--tag", TAG).status == 0
    (digest,) = json.loads((forked.root / "locks/bases.json").read_text()).values()
    named = f"{base.rpartition(':')[0]}@{digest}"
    forked.edit("matrix.yaml", f'"{base}"}}', f'"{named}"}}\n    unchecked: {{alpine: "Python 3.13 on Alpine"}}')
    assert forked.run("find.digests", "--tag", TAG).status == 0
    assert json.loads((forked.root / "locks/bases.json").read_text()) == {}
    forked.commit()
    done = forked.run("build.local", "--json", "--tag", TAG, "--image", "hypercorn", BASE_MIRROR="")
    assert [row["status"] for row in done.rows] == ["built"], done.errors
    labels = host.client().images.get(f"{NAMESPACE}/hypercorn:{TAG}").labels
    assert labels["org.opencontainers.image.base.name"] == named
    assert labels["org.opencontainers.image.base.digest"] == digest
    assert forked.run("build.local", "--dry-run", "--tag", TAG, "--image", "hypercorn", BASE_MIRROR="").output == ""
    forget(host)
    forked.edit("matrix.yaml", f'"{named}"}}\n    unchecked: .*', f'"{base}"}}')


@pytest.mark.parametrize("pinned", [False, True], ids=["by its tag", "by its digest"])
def test_an_image_is_built_on_it(forked: Repository, host: engine.Engine, base: str, pinned: bool) -> None:
    (forked.root / "locks/bases.json").unlink(missing_ok=True)
    if pinned:
        assert forked.run("find.digests", "--tag", TAG).status == 0
    digests = json.loads((forked.root / "locks/bases.json").read_text()) if pinned else {}
    forked.commit()
    assert host.client().images.list(base) == []
    done = forked.run("build.local", "--json", "--tag", TAG, "--image", "hypercorn", BASE_MIRROR="")
    assert [row["status"] for row in done.rows] == ["built"], done.errors
    labels = host.client().images.get(f"{NAMESPACE}/hypercorn:{TAG}").labels
    assert labels["org.opencontainers.image.base.name"] == base
    assert labels.get("org.opencontainers.image.base.digest") == digests.get(base)
    forget(host)
