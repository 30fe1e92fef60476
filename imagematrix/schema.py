"""What may stand in matrix.yaml: types, allowed keys and meanings. The JSON schema for editors is made from it.

Only what can be said of one value is checked here; what depends on another part of the file is checked by `model`.
"""

from __future__ import annotations

import datetime
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from packaging.requirements import InvalidRequirement, Requirement
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails

from imagematrix.source import Source, as_read

NAME = r"^[a-z0-9]+([._-][a-z0-9]+)*$"
"""A repository's path component: https://github.com/distribution/distribution/blob/main/docs/content/spec/api.md."""
TAG = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"


def _requirement(text: str) -> str:
    try:
        Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"{text!r} is not a requirement such as hypercorn>=0.17.3: {reason}") from None
    return text


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _date(value: object) -> object:
    if isinstance(value, str):
        try:
            return datetime.date.fromisoformat(value)
        except ValueError:
            pass
    return value


Name = Annotated[str, Field(pattern=NAME)]
TagName = Annotated[str, Field(pattern=TAG)]
Text = Annotated[str, Field(pattern=r"^\S(.*\S)?$")]  # one line that is not empty
Version = Annotated[str, Field(pattern=r"^[1-9][0-9]*\.(0|[1-9][0-9]*)$")]
Suffix = Annotated[str, Field(pattern=r"^(-[a-z0-9.]+)*$")]
Platform = Annotated[str, Field(pattern=r"^[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?$")]
Reference = Annotated[str, Field(pattern=r"^[a-z0-9]+([._/:-]+[A-Za-z0-9]+)*:[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
Requires = Annotated[str, AfterValidator(_requirement)]
Date = Annotated[datetime.date, BeforeValidator(_date)]
Some = Annotated[
    list[str],
    Field(min_length=1),
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
"""One name or a list of names."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class OSEntry(_Entry):
    """A base operating system."""

    suffix: Suffix = Field(description="what it adds to a tag, such as -slim; empty for the full images")
    libc: Literal["glibc", "musl"] = Field(description="the C library, which decides the wheels")
    description: Text


class PythonEntry(_Entry):
    """A Python version."""

    status: Literal["stable", "eol"] = Field(description="eol: built, but never the target of an alias")
    end_of_life: Date = Field(description="the day upstream support ends, YYYY-MM-DD")
    bases: dict[str, Reference] = Field(description="for each OS the official image to build on")


class ExtraEntry(_Entry):
    """Something optional that an image can have."""

    requirement: Requires = Field(description="what is installed for it, such as hypercorn[h3]")
    package: Text = Field(description="the distribution that is installed if and only if the extra is there")
    worker_class: Name | None = Field(default=None, description="the WORKER_CLASS that needs it")
    description: Text


class ImageEntry(_Entry):
    """An image: one repository with a tag for each Python and OS."""

    parent: Name | None = Field(default=None, description="the image whose packages, extras and layers it has")
    title: Text
    description: Text
    packages: Annotated[list[Requires], Field(min_length=1)] = Field(description="what is installed, as requirements")
    extras: list[Name] = Field(default=[], description="its own extras, beside the parent's")


class ExclusionEntry(_Entry):
    """What is left out: with `extra` that extra, without it the cells themselves."""

    python: Some | None = Field(default=None, description="only these Pythons")
    os: Some | None = Field(default=None, description="only these base OSes")
    image: Some | None = Field(default=None, description="only these images and the ones built on them")
    extra: Some | None = Field(default=None, description="the extras to drop")
    until: Literal["wheel"] | None = Field(default=None, description="wheel: it ends when there are wheels")
    reason: Text = Field(description="why; users read it")


class AliasEntry(_Entry):
    """A tag that points at another tag's image."""

    os: Name
    python: Version | None = Field(default=None, description="the newest stable one if it is not given")


class MatrixFile(_Entry):
    """The matrix: Python × base OS × images × extras, and what is excluded from it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, title="matrix.yaml")

    registry: Text = Field(description="where the images are published, such as docker.io")
    namespace: Name = Field(description="the registry's namespace, before the image's name")
    platforms: Annotated[list[Platform], Field(min_length=1)]
    server: Name = Field(description="the distribution whose version is in tags and labels")
    os: Annotated[dict[Name, OSEntry], Field(min_length=1)]
    pythons: Annotated[dict[Version, PythonEntry], Field(min_length=1)]
    extras: dict[Name, ExtraEntry]
    images: Annotated[dict[Name, ImageEntry], Field(min_length=1)]
    exclusions: list[ExclusionEntry] = []
    aliases: dict[TagName, AliasEntry] = {}


def parse(source: Source) -> MatrixFile:
    """Return the typed contents of matrix.yaml. Raises InputError that lists everything that is wrong."""
    try:
        return MatrixFile.model_validate(source.data)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            where = [part for part in problem["loc"] if part != "[key]"]
            source.problem(where, _say(source, problem, where))
        source.check()
        raise AssertionError("a validation error without a problem") from error


def _say(source: Source, problem: ErrorDetails, where: list[str | int]) -> str:
    """Return one validation problem as a person would say it."""
    name = ".".join(str(part) for part in where) or source.name
    kind, context, value = problem["type"], problem.get("ctx", {}), problem["input"]
    if kind == "extra_forbidden":
        return _unknown(name, str(where[-1]), _keys(where))
    if kind == "missing":
        return f"{name} is missing"
    if kind == "value_error":
        return f"{name}: {context['error']}"
    if kind == "string_type" and isinstance(value, (bool, int, float, datetime.date)):
        return f"{name}: {as_read(source.scalars.get(tuple(where), str(value)), value)}"
    if kind == "too_short":
        return f"{name} must not be empty"
    if kind == "literal_error":
        return f"{name} must be {context['expected']}, not {value!r}"
    if kind == "string_pattern_mismatch":
        return f"{name}: {value!r} {_PATTERNS.get(context['pattern'], 'does not match ' + context['pattern'])}"
    return f"{name} must be {_KINDS.get(kind, problem['msg'])}, not {_shown(value)}"


_KINDS = {
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "date_type": "a date as YYYY-MM-DD",
    "date_from_datetime_inexact": "a date as YYYY-MM-DD",
}
_PATTERNS = {
    NAME: "is not a name: allowed are lower-case letters and digits, with . _ or - between them",
    TAG: "is not a tag: allowed are letters, digits, . _ and -, at most 128",
    r"^\S(.*\S)?$": "must be one line that is not empty, without space around it",
    r"^[1-9][0-9]*\.(0|[1-9][0-9]*)$": "is not a Python version such as 3.13",
    r"^(-[a-z0-9.]+)*$": "is not a suffix such as -slim (or empty)",
    r"^[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?$": "is not a platform such as linux/amd64",
    r"^[a-z0-9]+([._/:-]+[A-Za-z0-9]+)*:[A-Za-z0-9_][A-Za-z0-9_.-]*$": "is not an image with a tag such as "
    "python:3.13-slim-trixie",
}


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else repr(value)


def _unknown(name: str, key: str, allowed: list[str]) -> str:
    near = get_close_matches(key, allowed, 1)
    guess = f"did you mean {near[0]}? " if near else ""
    return f"{name} is unknown; {guess}allowed here: {', '.join(allowed)}"


def _keys(where: list[str | int]) -> list[str]:
    """Return the keys that are allowed beside the last one of `where`."""
    entries: dict[str, Any] = {
        "os": OSEntry,
        "pythons": PythonEntry,
        "extras": ExtraEntry,
        "images": ImageEntry,
        "exclusions": ExclusionEntry,
        "aliases": AliasEntry,
    }
    model = MatrixFile if len(where) == 1 else entries[str(where[0])]
    return list(model.model_fields)
