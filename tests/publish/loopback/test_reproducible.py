"""The same commit gives the same digest, whoever builds it: the matrix is split between two builders."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from imagematrix.machine import buildkit_standin, engine
from tests.publish.loopback.conftest import RUN, TAG, Repository, offer_base

pytestmark = pytest.mark.slow
OTHER_TAG, OTHER_BASE = "python3.11-alpine", "python:3.11-alpine3.24"


@pytest.fixture(scope="module")
def second_builder(host: engine.Engine) -> Iterator[str]:
    """Another builder, with an empty cache."""
    name = f"hcimg-{RUN}-b"
    with buildkit_standin.stand_in(host, name):
        yield name


def test_two_builders_share_the_matrix_and_give_the_same_digests(
    repository: Repository, host: engine.Engine, builder: str, second_builder: str
) -> None:
    offer_base(host, repository.registry, OTHER_BASE)
    assert repository.run("find.digests", "--tag", OTHER_TAG).status == 0
    repository.commit()
    both = f"{OTHER_TAG},{TAG}"
    what = ("--unsigned", "--image", "hypercorn-fastapi")  # which has the layers of its parent too
    alone = repository.elsewhere("alone").push(*what, tag=both)
    split = repository.elsewhere("split", BUILDER=f"{second_builder},{builder}").push(*what, tag=both)
    assert (alone.status, split.status) == (0, 0), alone.errors + split.errors
    assert f"on {builder} …" in split.errors
    assert f"on {second_builder} …" in split.errors
    digests = {row["variant"]: row["digest"] for row in split.rows}
    assert {row["variant"]: row["digest"] for row in alone.rows} == digests
    assert len(digests) == 2
