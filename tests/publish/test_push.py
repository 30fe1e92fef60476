"""What `make push` decides without a registry. loopback/ has a real one."""

from __future__ import annotations

from typing import Any

import pytest
from docker.errors import APIError

from imagematrix.errors import UserError
from imagematrix.find.digests import unpinned
from imagematrix.machine import base_image
from imagematrix.matrix.model import Matrix
from imagematrix.outcome import Outcome
from imagematrix.prove import provenance
from imagematrix.publish import push
from imagematrix.publish.plan import Decision, destination
from imagematrix.registry import Published
from tests.conftest import Repository


class FakeRegistry:
    """A registry whose every image is a stand-in."""

    def inspect(self, reference: str) -> Published:
        return Published("sha256:1", labels={base_image.own_labels().standin: "true"})


def refuse(matrix: Matrix, registry: str, *, allowed: bool) -> None:
    decided = [Decision(matrix.variants[0], "build", "new")]
    push.refuse_stand_ins(FakeRegistry(), destination(matrix, registry), decided, allowed=allowed)


@pytest.mark.parametrize("registry", ["registry.example/mine", "docker.io/mine", "127.0.0.1.example/mine"])
def test_stand_ins_are_refused_beyond_loopback_even_if_allowed(matrix: Matrix, registry: str) -> None:
    with pytest.raises(UserError, match=r"is a stand-in at .*: --allow-stand-ins is for a registry on loopback"):
        refuse(matrix, registry, allowed=True)


def test_stand_ins_go_to_a_registry_on_loopback_only_if_allowed(matrix: Matrix) -> None:
    refuse(matrix, "127.0.0.1:5000/mine", allowed=True)
    with pytest.raises(UserError, match="it proves and is never shipped"):
        refuse(matrix, "127.0.0.1:5000/mine", allowed=False)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UserError("no\nanswer"), "no answer"),
        (OSError(28, "No space left on device", "/tmp/push-1"), "/tmp/push-1: No space left on device"),
        (APIError("500 Server Error"), "500 Server Error"),
    ],
)
def test_whatever_goes_wrong_with_one_variant_is_its_own(
    matrix: Matrix, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def carry_out(publisher: push.Publisher, decision: Decision, builder: str) -> Outcome:
        if decision.variant == first:
            raise error
        return Outcome(decision.variant, "pushed")

    first, second = matrix.variants[:2]
    monkeypatch.setattr(push.Publisher, "carry_out", carry_out)
    publisher = push.Publisher(*[None] * 7, builders=["some"])  # type: ignore[arg-type]
    outcomes = publisher.publish([Decision(variant, "build", "new") for variant in (first, second)])
    assert [(done.status, done.reason) for done in outcomes] == [("failed", reason), ("pushed", "")]


def test_a_base_may_be_named_by_its_digest(repository: Repository) -> None:
    digest = "a" * 64
    name = f"localhost:5000/x@sha256:{digest}"
    old = 'bases: {full: "python:3.13-trixie",'
    repository.edit(old, f'unchecked: {{full: "Python 3.13"}}\n    bases: {{full: "{name}",')
    variant = repository.load().variant("hypercorn", "3.13", "full")
    assert (variant.pinned_base, variant.base_digest) == (name, f"sha256:{digest}")
    assert unpinned([variant]) == []
    assert push.mirror_of(variant) == name
    made: Any = provenance.document(variant, "linux/amd64", "", "1234", 0)
    base = made["buildDefinition"]["resolvedDependencies"][1]
    assert base == {"uri": f"pkg:docker/{name}?platform=linux/amd64", "digest": {"sha256": digest}}
