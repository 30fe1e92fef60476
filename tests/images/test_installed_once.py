"""An edit of the runtime copies files again, and installs nothing again."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator

import pytest
from docker.client import DockerClient

from imagematrix.build import local
from tests.conftest import Repository

VARIANT = ("--image", "hypercorn", "--tag", "python3.13-slim")


@pytest.fixture
def own(generated: Repository, client: DockerClient) -> Iterator[Repository]:
    """A repository whose images have a name of their own. They are removed afterwards."""
    namespace = f"installed-once-{uuid.uuid4().hex[:8]}"
    generated.edit("namespace: hypercorn", f"namespace: {namespace}")
    yield generated
    for image in client.images.list(filters={"reference": f"{namespace}/*"}):
        client.images.remove(image.id, force=True)


def build(repository: Repository) -> str:
    """Generate and build the variant; return BuildKit's output."""
    assert repository.run("--allow-removal", *VARIANT).status == 0
    done = repository.run(*VARIANT, main=local.main)
    if "not built" in done.out:
        pytest.skip(f"not built here: {done.out.splitlines()[-1]}")
    assert done.status == 0, done.err
    return done.err


def is_cached(output: str, step: str) -> bool:
    """Say whether BuildKit took the step from its cache."""
    (number,) = re.findall(rf"^#(\d+) \[[^]]+\] {step}", output, re.MULTILINE)
    return f"#{number} CACHED" in output.splitlines()


def test_an_edit_of_the_runtime_installs_nothing_again(own: Repository) -> None:
    build(own)
    start = own.root / "runtime/start.sh"
    start.write_text(f"{start.read_text()}# {uuid.uuid4()}\n")
    output = build(own)
    assert is_cached(output, r"RUN .*pip install ")
    assert not is_cached(output, r"COPY .*runtime/ /")
