"""Whatever matrix.yaml holds: a valid build/, or status 2 and lines that say where. Never a traceback."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagematrix.machine import address, engine
from imagematrix.reference import parse
from tests.conftest import REPOSITORY, Repository

SOURCE = yaml.safe_load((REPOSITORY / "matrix.yaml").read_text(encoding="utf-8"))
KEPT = ("3.9", "3.13")
SEED: dict[str, Any] = {
    **SOURCE,
    "pythons": {version: entry for version, entry in SOURCE["pythons"].items() if version in KEPT},
    "exclusions": [{**entry, "python": "3.9"} for entry in SOURCE["exclusions"]],
}
"""Two Pythons of the matrix: a case takes a quarter of the time."""
TEXT = yaml.safe_dump(SEED, allow_unicode=True, sort_keys=False).encode()
CASES = settings(
    max_examples=10_000 if os.environ.get("FULL") else 150,
    deadline=None,
    derandomize=not os.environ.get("FULL"),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def places(data: object, where: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items: list[tuple[Any, Any]] = []
    if isinstance(data, dict):
        items = list(data.items())
    elif isinstance(data, list):
        items = list(enumerate(data))
    return [where, *(place for key, value in items for place in places(value, (*where, key)))]


WORDS = [
    *("3.9", "3.13", "3.14t", "slim", "alpine", "h3", "hypercorn", "hypercorn-fastapi", "eol", "prerelease", "wheel"),
    *("hypercorn>=1", "python:3.9", "python:3.13-alpine3.24", "ghcr.io/a/python:3.13", "-a.b", "-a-b", "", "latest"),
    *(
        "runtime",
        "scratch",
        "docker.io",
        "localhost:5000",
        "ghcr",
        "<!-- end of images -->",
        "\u202e",
        "x" * 300,
        3.1,
        None,
    ),
]
VALUES = (
    st.sampled_from(WORDS)
    | st.text(max_size=5)
    | st.integers()
    | st.booleans()
    | st.dates()
    | st.binary(max_size=3)
    | st.lists(st.sampled_from(WORDS), max_size=3)
    | st.dictionaries(st.sampled_from(WORDS[:20]), st.sampled_from(WORDS), max_size=2)
)
EDITS = st.tuples(st.sampled_from(places(SEED)[1:]), st.sampled_from(["set", "drop", "rename", "twin"]), VALUES)
BYTES = st.tuples(
    st.integers(0, len(TEXT)),
    st.integers(0, 6),
    st.sampled_from(
        [b"", b" ", b"\n", b"\t", b'"', b"'", b":", b"-", b"[", b"{", b"&a ", b"*a", b"!!int ", b"\xc3\xa9", b"#"]
    )
    | st.binary(max_size=3),
)


def edited(data: Any, where: tuple[Any, ...], how: str, value: Any) -> None:
    """Change one place of the data, if earlier changes have left it there."""
    *way, last = where
    try:
        for step in way:
            data = data[step]
        old = data[last]
        if how == "set":
            data[last] = value
        elif how == "drop":
            del data[last]
        elif isinstance(data, dict):
            data[value] = old
            if how == "rename":
                del data[last]
    except (LookupError, TypeError):
        pass


@CASES
@given(edits=st.lists(EDITS, min_size=1, max_size=3))
def test_any_values_make_a_build_or_an_error_with_a_line(repository: Repository, edits: list[Any]) -> None:
    data = json.loads(json.dumps(SEED, default=str))
    for where, how, value in edits:
        edited(data, where, how, value)
    check(repository, yaml.safe_dump(data, allow_unicode=True, sort_keys=False).encode())


@CASES
@given(edits=st.lists(BYTES, min_size=1, max_size=4))
def test_any_bytes_make_a_build_or_an_error_with_a_line(repository: Repository, edits: list[Any]) -> None:
    data = TEXT
    for start, length, new in edits:
        data = data[:start] + new + data[start + length :]
    check(repository, data)


LIMIT = 10
"""Seconds after which a case hangs. It takes a tenth of one."""


@contextmanager
def limited() -> Iterator[None]:
    """End what is done meanwhile when it takes too long: hypothesis's own deadline only measures what has ended."""

    def over(number: int, frame: object) -> None:
        pytest.fail(f"this matrix.yaml takes more than {LIMIT} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def check(repository: Repository, data: bytes) -> None:
    repository.matrix.write_bytes(data)
    shutil.rmtree(repository.build, ignore_errors=True)
    with limited():
        result = repository.run()
    if result.status == 0:
        valid(repository)
        return
    assert (result.status, result.out) == (2, "")
    assert not repository.build.exists()
    last = len(data.decode(errors="replace").splitlines())
    for said in result.err.splitlines():
        place = re.match(r"(matrix\.yaml|locks/\S+):(\d+): \S", said)
        if place is None:
            assert re.fullmatch(r"(locks/\S+|\S+/?): is missing.*", said), said  # no file, no line
        elif place[1] == "matrix.yaml":
            assert 1 <= int(place[2]) <= max(1, last), said


def valid(repository: Repository) -> None:
    bake = json.loads((repository.build / "docker-bake.json").read_text(encoding="utf-8"))
    variants = repository.load().variants
    assert list(bake["target"]) == [variant.target for variant in variants]
    references = [tag for target in bake["target"].values() for tag in target["tags"]]
    assert len({one.lower() for one in references}) == len(references)
    for one in references:
        assert parse(one).tag
    for variant in variants:
        name = parse(variant.base)
        if variant.os.name not in variant.python.unchecked:
            assert re.match(rf"{re.escape(variant.python.version)}(?!\d)", str(name.tag))
            assert ("alpine" in str(name.tag)) == (variant.os.libc == "musl")
    parsed(repository.build / variants[0].directory / "Dockerfile")


_PARSED: set[bytes] = set()
SAMPLE = 20
"""With FULL, BuildKit parses each of this many Dockerfiles."""


def parsed(dockerfile: Path) -> None:
    """Have hadolint parse a Dockerfile, and with FULL a sample of them BuildKit too, once for each text."""
    text = dockerfile.read_bytes()
    if text not in _PARSED:
        _PARSED.add(text)
        if os.environ.get("FULL") and len(_PARSED) % SAMPLE == 1:
            buildkit_parses(text)
        hadolint = Path(sys.executable).parent / "hadolint"
        done = subprocess.run(
            [hadolint, "--no-fail", "--failure-threshold", "none", dockerfile],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "unexpected" not in done.stdout, done.stdout


@cache
def buildx() -> list[str] | None:
    """Return the engine's buildx, None where no engine answers."""
    return None if address.why_silent(address.configured_host()) else engine.ensure().buildx


def buildkit_parses(text: bytes) -> None:
    """Have BuildKit read a whole Dockerfile and build nothing of it: `--check` needs a newer buildx than Debian's."""
    if command := buildx():
        options = ["--progress", "plain", "--output", "type=cacheonly", "--target", "parsed", "-"]
        dockerfile = text + b"\nFROM scratch AS parsed\n"
        done = subprocess.run([*command, "build", *options], input=dockerfile, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")


@pytest.mark.skipif(address.why_silent(address.configured_host()) is not None, reason="no container engine answers")
def test_buildkit_is_asked(repository: Repository) -> None:
    assert repository.run().status == 0
    text = next(repository.build.rglob("Dockerfile")).read_bytes()
    buildkit_parses(text)
    with pytest.raises(AssertionError, match="unknown instruction: ENVY"):
        buildkit_parses(text.replace(b"\nENV ", b"\nENVY "))


def test_a_case_that_hangs_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "alarm", lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds / 1000))
    with pytest.raises(pytest.fail.Exception, match="takes more than 10 s"), limited():
        signal.pause()


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('a: 1\nb: "never closed\nc: 2\n', 2, "is the quote closed?"),
        ("é: ü\nb: c\x01d\n", 2, "has a control character (U+0001)"),
    ],
)
def test_the_line_is_where_the_mistake_begins(repository: Repository, text: str, line: int, says: str) -> None:
    repository.matrix.write_text(text, encoding="utf-8")
    result = repository.run("--validate")
    assert result.err.startswith(f"matrix.yaml:{line}: ")
    assert says in result.err
