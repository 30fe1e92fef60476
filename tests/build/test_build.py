"""What `make build` does with what it finds on the engine, and what it says when bake fails. No engine is needed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from docker.errors import ImageNotFound

from imagematrix import labels
from imagematrix.build import local as build
from imagematrix.machine import images
from imagematrix.machine.base_image import Base, Unavailable
from imagematrix.matrix.model import Matrix, Variant
from imagematrix.outcome import Outcome, print_outcomes
from imagematrix.render.render import Rendered


class FakeClient:
    """An engine's images: reference -> ID and labels."""

    def __init__(self) -> None:
        self.images, self.has = self, {}

    def get(self, reference: str) -> SimpleNamespace:
        if reference not in self.has:
            raise ImageNotFound(reference)
        return self.has[reference]


class Builder(build.Builder):
    """Builds nothing: what bake would do is in `bakes`, one entry a run."""

    def __init__(self, variants: list[Variant]) -> None:
        self.client, inputs = FakeClient(), dict.fromkeys(variants, "sha256:inputs")
        self.rendered = Rendered(variants[0].matrix, {}, inputs)
        self.root, self.engine, self.bakes, self.runs = None, None, [], []

    def run(self, todo):
        targets = [variant.target for variant in todo]
        self.runs.append(targets)
        return self.bakes.pop(0)(targets)

    def holds(self, variant: Variant) -> None:
        own = variant.matrix.labels
        image = SimpleNamespace(id=variant.name, labels={own.inputs: "sha256:inputs", own.base_id: "sha256:base"})
        self.client.has |= dict.fromkeys(variant.references, image)


@pytest.fixture
def variants(matrix: Matrix) -> list[Variant]:
    return [one for one in matrix.variants if one.tag == "python3.13-slim"]


@pytest.fixture
def builder(variants: list[Variant], monkeypatch: pytest.MonkeyPatch) -> Builder:
    """A builder whose engine has the base of all variants."""
    found = {one.base: Base(one.base, "sha256:base", None, False) for one in variants}
    monkeypatch.setattr(images, "obtain", lambda engine, names, pins, **_: {name: found[name] for name in names})
    return Builder(variants)


def statuses(outcomes: list[Outcome]) -> list[str]:
    return [one.status for one in outcomes]


def test_what_is_current_is_left_alone(builder: Builder, variants: list[Variant]) -> None:
    for one in variants:
        builder.holds(one)
    assert statuses(builder.build(variants)) == ["current", "current"]
    assert builder.runs == []
    assert builder.stale(variants) == ()


def test_a_dry_run_lists_what_is_out_of_date(builder: Builder, variants: list[Variant]) -> None:
    builder.holds(variants[0])
    assert builder.stale(variants) == (variants[1],)
    assert builder.runs == []


def test_a_dry_run_lists_what_waits_for_its_base_and_not_what_has_none(
    builder: Builder, variants: list[Variant], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "obtain", lambda engine, names, pins, dry_run: {})
    assert builder.stale(variants) == tuple(variants)
    nowhere = Unavailable("nowhere")
    monkeypatch.setattr(images, "obtain", lambda engine, names, pins, dry_run: dict.fromkeys(names, nowhere))
    assert builder.stale(variants) == ()


def test_a_base_that_is_not_the_pinned_one_is_a_failure(
    builder: Builder, variants: list[Variant], monkeypatch: pytest.MonkeyPatch
) -> None:
    def obtain(engine, names, pins):
        return {name: Unavailable("another digest", refused=True) for name in names}

    monkeypatch.setattr(images, "obtain", obtain)
    outcomes = builder.build(variants)
    assert statuses(outcomes) == ["failed", "failed"]
    assert build.status_of(print_outcomes(outcomes)) == 1


def test_the_pins_of_the_lock_are_asked_for(matrix: Matrix, variants: list[Variant]) -> None:
    matrix.locks._bases = {variants[0].base: "sha256:pinned"}
    assert build.pins(variants) == {variants[0].base: "sha256:pinned"}


def test_an_image_on_a_stand_in_does_not_claim_the_digest_of_the_official_base(
    builder: build.Builder, matrix: Matrix, variants: list[Variant], monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix.locks._bases = {variants[0].base: "sha256:pinned"}
    builder.engine, asked = SimpleNamespace(buildx=[]), {}
    monkeypatch.setattr(build.bake, "bake", lambda buildx, root, overrides, targets: (True, asked.update(overrides)))
    for standin, digest in ((True, {labels.BASE_DIGEST: ""}), (False, {})):
        base = Base("reference", "sha256:id", None, standin)
        build.Builder.run(builder, {variants[0]: base})
        assert asked[variants[0].target]["labels"] == {matrix.labels.base_id: "sha256:id", **digest}


def test_what_bake_gave_up_for_anothers_failure_is_built_again(builder: Builder, variants: list[Variant]) -> None:
    parent, child = variants

    def fails(targets):
        return f"#7 [{child.target} stage 1/2] RUN pip\n#7 1.0 ERROR: no wheel\n#7 ERROR: exit code: 1\n"

    def works(targets):
        builder.holds(parent)
        return ""

    builder.bakes = [fails, works]
    outcomes = builder.build(variants)
    assert [(one.status, one.reason) for one in outcomes] == [("built", ""), ("failed", "ERROR: no wheel")]
    assert builder.runs == [[parent.target, child.target], [parent.target]]
