"""An edit of the runtime copies files again, and installs nothing again."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator

import pytest
from docker.client import DockerClient

from imagematrix.build import local
from imagematrix.matrix.model import Variant
from tests.conftest import Repository


@pytest.fixture
def own(generated: Repository, client: DockerClient) -> Iterator[Repository]:
    """A repository whose images have a name of their own. They are removed afterwards."""
    namespace = f"installed-once-{uuid.uuid4().hex[:8]}"
    generated.edit("namespace: hypercorn", f"namespace: {namespace}")
    yield generated
    for image in client.images.list(filters={"reference": f"{namespace}/*"}):
        client.images.remove(image.id, force=True)


def build(repository: Repository, variant: Variant) -> str:
    """Generate and build the variant; return BuildKit's output."""
    filters = ("--image", variant.image.name, "--tag", variant.tag)
    assert repository.run("--allow-removal", *filters).status == 0
    done = repository.run(*filters, main=local.main)
    assert done.status == 0, done.err
    return done.err


def is_cached(output: str, step: str) -> bool:
    """Say whether BuildKit took each such step from its cache."""
    numbers = set(re.findall(rf"^#(\d+) \[[^]]+\] {step}", output, re.MULTILINE))
    assert numbers
    return all(f"#{number} CACHED" in output.splitlines() for number in numbers)


@pytest.mark.images("hypercorn", one_per="os")
def test_an_edit_of_the_runtime_installs_nothing_again(own: Repository, variant: Variant) -> None:
    build(own, variant)
    start = own.root / "runtime/start.sh"
    start.write_text(f"{start.read_text()}# {uuid.uuid4()}\n")
    output = build(own, variant)
    assert is_cached(output, r"RUN .*pip install ")
    assert not is_cached(output, r"COPY .*runtime/ /")
