"""The lock of the base images."""

from __future__ import annotations

from imagematrix.find.digests import updated


def test_it_forgets_what_nobody_uses_and_keeps_what_was_not_found() -> None:
    lock = updated({"a": "1", "b": "1", "gone": "1"}, {"a": "2", "b": None}, ["a", "b", "c"])
    assert lock == {"a": "2", "b": "1"}
