"""What the check of a pushed image finds wrong, by a played engine; tests/publish/loopback has a real one."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError
from requests.exceptions import ReadTimeout

from imagematrix.build import clean
from imagematrix.errors import UserError
from imagematrix.matrix.model import Matrix, Variant
from imagematrix.prove import smoke

LABELS = {"org.opencontainers.image.revision": "abc"}
QUIET = "[2026-11-22 10:00:00 +0000] [1] [INFO] Running on http://0.0.0.0:80 (CTRL + C to quit)\n"


class FakeContainer:
    """A container that does as it is told."""

    def __init__(self, python: str, extras: list[str]) -> None:
        self.probe: tuple[int, bytes] = (0, json.dumps([python, extras]).encode())
        self.status, self.log, self.asked, self.removed = 0, QUIET, [], False

    def exec_run(self, command: list[str]) -> tuple[int, bytes]:
        self.asked = command[3:]
        return self.probe

    def stop(self, timeout: int) -> None:
        pass

    def wait(self, timeout: float) -> dict[str, int]:
        return {"StatusCode": self.status}

    def logs(self) -> bytes:
        return self.log.encode()

    def remove(self, **_: Any) -> None:
        self.removed = True


@pytest.fixture
def variant(matrix: Matrix) -> Variant:
    return next(one for one in matrix.variants if one.name == "hypercorn:python3.9-slim")


@pytest.fixture
def container(variant: Variant, monkeypatch: pytest.MonkeyPatch) -> FakeContainer:
    monkeypatch.setattr(smoke, "_answer", lambda container, platform, probe: f"hypercorn {variant.server_version}")
    return FakeContainer("3.9", ["aioquic", "uvloop"])


def check(container: FakeContainer, variant: Variant, labels: dict[str, str] = LABELS) -> None:
    client = SimpleNamespace(
        images=SimpleNamespace(get=lambda reference: SimpleNamespace(labels=labels)),
        containers=SimpleNamespace(run=lambda *_, **__: container),
    )
    smoke.check(client, "image@sha256:1", variant, "linux/amd64", LABELS)


def test_an_image_as_it_was_meant(container: FakeContainer, variant: Variant) -> None:
    check(container, variant)
    assert container.asked == ["aioquic", "trio", "uvloop"], "those that it must not have too"
    assert container.removed


def test_a_container_that_the_engine_does_not_remove_is_not_the_images_fault(
    container: FakeContainer, variant: Variant, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def remove(**_: Any) -> None:
        raise APIError("409 Conflict: removal is in progress")

    monkeypatch.setattr(container, "remove", remove)
    check(container, variant)
    assert "is left on the engine: 409 Conflict: removal is in progress" in capsys.readouterr().err


def test_an_image_that_the_engine_does_not_remove_is_not_its_fault(capsys: pytest.CaptureFixture[str]) -> None:
    def remove(reference: str) -> None:
        raise APIError("409 Conflict: image is being used")

    client = SimpleNamespace(images=SimpleNamespace(pull=lambda repository, tag: None, remove=remove))
    with smoke.pulled(client, "image@sha256:1"):
        pass
    assert "image@sha256:1 is left on the engine: 409 Conflict: image is being used" in capsys.readouterr().err


def test_an_engine_that_does_not_answer(container: FakeContainer, variant: Variant) -> None:
    def stop(timeout: int) -> None:
        raise ReadTimeout("Read timed out.")

    container.stop = stop  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r"^linux/amd64: Read timed out\.$"):
        check(container, variant)


def test_another_label(container: FakeContainer, variant: Variant) -> None:
    with pytest.raises(UserError, match=r"says \S+\.revision=old on linux/amd64, not abc"):
        check(container, variant, {"org.opencontainers.image.revision": "old"})


@pytest.mark.parametrize("extras", [["aioquic"], ["aioquic", "trio", "uvloop"], []])
def test_other_extras(container: FakeContainer, variant: Variant, extras: list[str]) -> None:
    container.probe = (0, json.dumps(["3.9", extras]).encode())
    with pytest.raises(UserError, match=r"has .* on linux/amd64, not aioquic, uvloop"):
        check(container, variant)
    assert container.removed


def test_an_extra_that_cannot_be_imported(container: FakeContainer, variant: Variant) -> None:
    container.probe = (1, b"ImportError: libssl.so.3\n")
    with pytest.raises(UserError, match=r"cannot import its extras .* libssl\.so\.3"):
        check(container, variant)


def test_another_python(container: FakeContainer, variant: Variant) -> None:
    container.probe = (0, json.dumps(["3.8", ["aioquic", "uvloop"]]).encode())
    with pytest.raises(UserError, match=r"has Python 3\.8"):
        check(container, variant)


def test_another_status(container: FakeContainer, variant: Variant) -> None:
    container.status = 137
    with pytest.raises(UserError, match="stops with status 137"):
        check(container, variant)


@pytest.mark.parametrize(
    "line",
    [
        "[2026-11-22 10:00:00 +0000] [7] [ERROR] Exception in ASGI framework",
        "[2026-11-22 10:00:00 +0000] [1] [CRITICAL] no",
        "Traceback (most recent call last):",
        "hypercorn-image: error: PORT=x: a number is allowed",
    ],
)
def test_a_complaint_in_the_log(container: FakeContainer, variant: Variant, line: str) -> None:
    container.log = f"{QUIET}{line}\n"
    with pytest.raises(UserError) as caught:
        check(container, variant)
    assert str(caught.value) == f"complains on linux/amd64: {line}"


def test_clean_finds_what_a_killed_smoke_test_left(matrix: Matrix) -> None:
    left = {matrix.labels.test: ["a test's"], matrix.labels.smoke: ["a push's"]}
    listed = SimpleNamespace(list=lambda all, filters: left[filters["label"]] if all else [])
    assert clean.containers(SimpleNamespace(containers=listed), matrix.labels) == ["a test's", "a push's"]
