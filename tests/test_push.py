"""What `make push` decides without a registry. tests/publish has a real one."""

from __future__ import annotations

import pytest

from imagematrix import push
from imagematrix.bases import STANDIN_LABEL
from imagematrix.errors import UserError
from imagematrix.model import Matrix
from imagematrix.plan import Decision, relocated
from imagematrix.registry import Published


class FakeRegistry:
    """A registry whose every image is a stand-in."""

    def inspect(self, reference: str) -> Published:
        return Published("sha256:1", labels={STANDIN_LABEL: "true"})


def decided(matrix: Matrix, registry: str) -> list[Decision]:
    return [Decision(relocated(matrix, registry).variants[0], "build", "new")]


@pytest.mark.parametrize("registry", ["registry.example/mine", "docker.io/mine", "127.0.0.1.example/mine"])
def test_stand_ins_are_refused_beyond_loopback_even_if_allowed(matrix: Matrix, registry: str) -> None:
    with pytest.raises(UserError, match=r"is a stand-in at .*: --allow-stand-ins is for a registry on loopback"):
        push.refuse_stand_ins(FakeRegistry(), decided(matrix, registry), allowed=True)


def test_stand_ins_go_to_a_registry_on_loopback_only_if_allowed(matrix: Matrix) -> None:
    push.refuse_stand_ins(FakeRegistry(), decided(matrix, "127.0.0.1:5000/mine"), allowed=True)
    with pytest.raises(UserError, match="it proves and is never shipped"):
        push.refuse_stand_ins(FakeRegistry(), decided(matrix, "127.0.0.1:5000/mine"), allowed=False)
