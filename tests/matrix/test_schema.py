"""The JSON schema that editors complete matrix.yaml with agrees with what generate.py takes."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.conftest import REPOSITORY

SCHEMA = json.loads((REPOSITORY / "build/matrix.schema.json").read_text(encoding="utf-8"))
DATA = json.loads(json.dumps(yaml.safe_load((REPOSITORY / "matrix.yaml").read_text(encoding="utf-8")), default=str))


def mistakes(data: Any) -> list[str]:
    """Return what an editor marks in a matrix.yaml with this data."""
    from jsonschema import Draft202012Validator  # a second, which not every worker of pytest-xdist need spend

    return [error.message for error in Draft202012Validator(SCHEMA).iter_errors(data)]


def test_the_matrix_is_valid() -> None:
    from jsonschema import Draft202012Validator

    Draft202012Validator.check_schema(SCHEMA)
    assert mistakes(DATA) == []


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (["regestry"], "docker.io"),
        (["registry"], 1),
        (["registry"], None),
        (["registry"], "https://docker.io"),
        (["platforms"], []),
        (["platforms"], ["linux/amd46"]),
        (["os", "slim", "libc"], "muslc"),
        (["pythons", "3.13", "status"], "EOL"),
        (["pythons", "3.13", "statsu"], "eol"),
        (["pythons", "3.13.1"], DATA["pythons"]["3.13"]),
        (["images", "hypercorn", "packages"], "hypercorn"),
        (["images", "Hyper"], DATA["images"]["hypercorn"]),
        (["exclusions", 0, "reason"], None),
        (["exclusions", 0, "python"], None),
        (["exclusions", 0, "python"], 3.9),
        (["exclusions", 0, "until"], "then"),
        (["aliases", "latest"], "slim"),
    ],
)
def test_a_mistake_is_not(where: list[str | int], value: object) -> None:
    data: Any = json.loads(json.dumps(DATA))
    inside = data
    for step in where[:-1]:
        inside = inside[step]
    inside[where[-1]] = value
    assert mistakes(data)


def test_a_missing_reason_is_not() -> None:
    data = json.loads(json.dumps(DATA))
    del data["exclusions"][0]["reason"]
    assert mistakes(data) == ["'reason' is a required property"]


def test_what_an_editor_shows_says_something() -> None:
    models = {"MatrixFile": SCHEMA, **SCHEMA["$defs"]}
    for name, model in models.items():
        assert model["description"], name
    speechless = {
        f"{name}.{key}"
        for name, model in models.items()
        for key, value in model["properties"].items()
        if not value.get("description")
    }
    obvious = {"title", "description", "os"}
    assert {one for one in speechless if one.split(".")[1] not in obvious} == set()


def test_nothing_is_nowhere_allowed() -> None:
    assert '"null"' not in json.dumps(SCHEMA)
