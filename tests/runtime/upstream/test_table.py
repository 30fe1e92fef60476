"""The table of assumptions: each has a test, and the log says, once, which of them does not hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypercorn.config import Config
from hypercorn_image import upstream

from tests.runtime.upstream import test_aioquic, test_hypercorn, test_loops, test_python


def named() -> Iterator[str]:
    for module in (test_aioquic, test_hypercorn, test_loops, test_python):
        for function in vars(module).values():
            yield from (mark.args[0] for mark in getattr(function, "pytestmark", []) if mark.name == "holds")


def test_every_assumption_has_one_test() -> None:
    assert sorted(named()) == sorted(upstream.ASSUMPTIONS)


def test_all_hold_here() -> None:
    assert upstream.missing(set(upstream._FEATURES)) == []


def test_each_is_used_always_or_with_a_feature_and_each_feature_uses_one() -> None:
    assert {one.used_with for one in upstream.ASSUMPTIONS.values()} == {"", *upstream._FEATURES}


@pytest.mark.parametrize(
    ("options", "variables", "features"),
    [
        ({}, {}, {"asyncio", "http1"}),
        (
            {"worker_class": "uvloop", "statsd_host": "a:1"},
            {"PRELOAD_APP": True},
            {"uvloop", "statsd", "preload", "http1"},
        ),
        ({"worker_class": "trio", "quic_bind": "a:1"}, {"HTTP1": "fast"}, {"trio", "quic"}),
        ({}, {"HTTP1": "hypercorn", "PRELOAD_APP": False}, {"asyncio"}),
    ],
)
def test_the_configuration_says_which_features_are_used(
    options: dict[str, Any], variables: dict[str, Any], features: set[str]
) -> None:
    assert upstream.used(Config.from_mapping(options), variables) == features


def test_one_that_does_not_hold_is_named_with_its_package_and_what_is_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    import hypercorn.protocol

    monkeypatch.delattr(hypercorn.protocol, "H2Protocol")
    (line,) = upstream.missing(())
    assert line.startswith("hypercorn 0.")
    assert "(hypercorn-h2-connection): HTTP/2 clients may lose a request" in line


def test_one_of_what_is_not_used_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> bool:
        raise ImportError

    for name, one in upstream.ASSUMPTIONS.items():
        monkeypatch.setitem(upstream.ASSUMPTIONS, name, one._replace(probe=fails, used_with="quic"))
    assert upstream.missing(()) == []
    assert len(upstream.missing({"quic"})) == len(upstream.ASSUMPTIONS)
