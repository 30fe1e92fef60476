"""A registry that fails while publishing: nothing is half tagged, others are not held up, and the next run completes.

Each test publishes to a namespace of its own, where nothing is yet. The layers are in the builder's cache.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.publish.loopback.conftest import DAY, ONE, TAG, Repository, is_moving_tag
from tests.publish.loopback.registry import HANGS_UP, Request, is_blob, is_index


def is_dated_tag(request: Request) -> bool:
    return request.tag == f"{TAG}-{DAY}"


@pytest.mark.parametrize(
    ("when", "status"),
    [
        pytest.param(is_blob, 500, id="a layer"),
        # Where test_interruptions kills the run and stops the registry, too.
        pytest.param(is_index, HANGS_UP, id="the index", marks=pytest.mark.slow),
        pytest.param(is_dated_tag, 500, id="the dated tag"),
        pytest.param(is_moving_tag, HANGS_UP, id="the moving tag"),
    ],
)
def test_a_registry_that_fails(small: Repository, when: Callable[[Request], bool], status: int) -> None:
    there = small.elsewhere(f"fails-{when.__name__.replace('_', '-')}-{status}")
    small.registry.fault = lambda request: status if when(request) else None
    done = there.push(*ONE)
    assert done.status == 1
    assert "left behind: hypercorn:" in done.errors
    assert TAG not in there.tags()
    small.registry.fault = lambda request: None
    there.completes(*ONE)


def test_one_failure_does_not_hold_up_the_others(small: Repository) -> None:
    there = small.elsewhere("others")
    small.registry.fault = lambda request: 500 if request.tag and "/hypercorn/" in request.path else None
    done = there.push("--unsigned")
    assert done.status == 1
    assert {row["variant"].partition(":")[0]: row["status"] for row in done.rows} == {
        "hypercorn": "failed",
        "hypercorn-fastapi": "pushed",
    }
    assert f"left behind: hypercorn:{TAG};" in done.errors
    assert there.tags("hypercorn") == {}
    assert set(there.tags("hypercorn-fastapi")) == there.all_tags("hypercorn-fastapi")
    small.registry.fault = lambda request: None
    assert [row["status"] for row in there.push("--unsigned").rows] == ["pushed", "current"]


def test_an_image_that_complains_gets_no_tag(small: Repository) -> None:
    there = small.elsewhere("complains")
    main = "runtime/app/main.py"
    there.edit(main, r"\Z", '\n\nprint("[ERROR] not well", flush=True)\n')
    there.commit()
    done = there.push(*ONE)
    assert done.status == 1
    assert "complains on linux/amd64: [ERROR] not well" in done.rows[0]["reason"]
    assert "is pushed, its tags are not moved" in done.rows[0]["reason"]
    assert there.tags() == {}
    there.edit(main, r'\n\nprint\("\[ERROR\] not well", flush=True\)\n\Z', "")
    there.commit()
    there.completes(*ONE)
