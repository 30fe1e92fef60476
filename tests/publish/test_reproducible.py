"""The same commit gives the same digest, whoever builds it, and however the matrix is split between builders."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from imagematrix import buildkit, engine
from imagematrix.build import say
from tests.publish.conftest import RUN, Repository

pytestmark = pytest.mark.xdist_group("publish")


@pytest.fixture(scope="module")
def second_builder(host: engine.Engine) -> Iterator[str]:
    """Another builder, with an empty cache."""
    name = f"hcimg-{RUN}-b"
    with buildkit.stand_in(host, name, say):
        yield name


def test_two_builders_with_caches_of_their_own(repository: Repository, second_builder: str) -> None:
    here = repository.elsewhere("one").published("--unsigned")
    there = repository.elsewhere("two").published("--unsigned", BUILDER=second_builder)
    assert here == there
