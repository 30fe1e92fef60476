"""The types, keys and meanings of matrix.yaml. The JSON schema for editors is made from them.

Each value is checked by itself here. `loading` checks values against each other.
"""

import datetime
import re
import unicodedata
from functools import cache
from typing import Annotated, Any, Literal

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.requirements import InvalidRequirement, Requirement
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import ErrorDetails

from imagematrix import project, reference
from imagematrix.errors import allowed_instead
from imagematrix.matrix.source import Source, as_read, shortened
from imagematrix.matrix.tags import PLACEHOLDERS

NAME = r"^[a-z0-9]+([._-][a-z0-9]+)*$"
"""A component of a repository's name, https://github.com/distribution/distribution/blob/main/docs/content/spec/api.md."""
LONGEST = 63
"""Characters in a name, so that all names together are not too long for a reference."""
IMAGE = r"^[a-z][a-z0-9]*([._-][a-z0-9]+)*$"
"""A component of a repository's name that is also valid as a build stage: it begins with a letter.

https://github.com/moby/buildkit/blob/master/frontend/dockerfile/instructions/parse.go"""
IMAGES_REFUSED = ("context", "scratch")
"""Stage names that BuildKit reserves."""
TAG = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"
NAMESPACE = r"^[a-z0-9]+([._-][a-z0-9]+)*(/[a-z0-9]+([._-][a-z0-9]+)*)*$"
REGISTRY = r"^[a-z0-9]+([.-][a-z0-9]+)*(:[0-9]+)?$"
DISTRIBUTION = r"^[a-z0-9]+(-[a-z0-9]+)*$"
"""A distribution's name in normal form, https://packaging.python.org/en/latest/specifications/name-normalization/."""
TEXT = r"^[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f\u2028\u2029]*[^\s\x00-\x1f\x7f-\x9f])?$"
"""A line of visible characters: it is used in labels, tables and errors."""
VERSION = r"^[1-9][0-9]?\.(0|[1-9][0-9]{0,2})$"
SUFFIX = r"^(-[a-z0-9]+(\.[a-z0-9]+)*)*$"
URL_PATH = r"^/[!-~]*$"
URL = r"^https?://[!-~]+$"
INNER_PATH = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$"
"""A path inside the repository, with / on every machine."""
UNSEEN = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")
BLANK = "\u115f\u1160\u2800\u3164\uffa0"
"""Characters that no font shows, although their categories are letters and symbols."""


def _requirement(text: str) -> str:
    try:
        parsed = Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"{shortened(repr(text))} is not a requirement such as uvicorn>=0.30: {reason}") from None
    if parsed.url:
        raise ValueError("a requirement by URL cannot be locked; write its name and version, such as uvicorn>=0.30")
    return text


def _license(text: str) -> str:
    try:
        return canonicalize_license_expression(text)
    except InvalidLicenseExpression:
        why = "is not an expression of SPDX licenses such as MIT or Apache-2.0 AND MIT"
        raise ValueError(f"{shortened(repr(text))} {why}") from None


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _date(value: object) -> object:
    """Parse a text as YYYY-MM-DD only. The other forms that `fromisoformat` allows depend on the version of Python."""
    if isinstance(value, str) and re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        try:
            return datetime.date.fromisoformat(value)
        except ValueError:
            pass
    return value


def _seen(text: str) -> str:
    """Refuse characters that cannot be seen: they hide in labels and tables, or change the direction of text."""
    for character in text:
        if unicodedata.category(character) in UNSEEN or character in BLANK:
            raise ValueError(f"has a character that cannot be seen (U+{ord(character):04X}); remove it")
    return text


def _base(text: str) -> str:
    try:
        parsed = reference.parse(text)
        if parsed.tag is None and parsed.digest is None:
            raise ValueError("is not an image with a tag such as python:3.13-slim-trixie")
    except ValueError as error:
        raise ValueError(f"{shortened(repr(text))} {error}") from None
    return text


def _registry(text: str) -> str:
    if not reference.is_host(text):
        raise ValueError(f"{text!r} would be a namespace of Docker Hub; a registry has a dot or a port, as ghcr.io has")
    reference.check_port(text)
    return text


def _image(name: str) -> str:
    if name in IMAGES_REFUSED:
        raise ValueError(f"{name} means something else to BuildKit; choose another name")
    return name


def _pattern(text: str) -> str:
    for name in re.findall(r"\{(.*?)\}", text):
        if name not in PLACEHOLDERS:
            raise ValueError(f"{shortened(f'{{{name}}}')} is unknown; {allowed_instead(name, PLACEHOLDERS)}")
    if not re.fullmatch(TAG, re.sub(r"\{.*?\}", "0", text)):
        raise ValueError(f"{shortened(repr(text))} {_PATTERNS[TAG]}, and {{tag}} and the like")
    return text


def _suffix(text: str) -> str:
    if re.search(r"-[0-9]{8}$", text):
        raise ValueError(f"{text!r} has the form of a day, as dated tags have; choose another suffix")
    return text


def _version(text: str) -> str:
    if re.fullmatch(r"[0-9]+\.[0-9]+t", text):
        raise ValueError(f"{text} is a free-threaded Python, which needs wheels of its own; write {text[:-1]}")
    if not re.fullmatch(VERSION, text):
        raise ValueError(f"{shortened(repr(text))} is not a Python version such as 3.13")
    return text


Name = Annotated[str, Field(pattern=NAME, max_length=LONGEST)]
ImageName = Annotated[str, Field(pattern=IMAGE, max_length=LONGEST), AfterValidator(_image)]
Namespace = Annotated[str, Field(pattern=NAMESPACE, max_length=127)]
Registry = Annotated[str, Field(pattern=REGISTRY, max_length=LONGEST), AfterValidator(_registry)]
Distribution = Annotated[str, Field(pattern=DISTRIBUTION)]
TagName = Annotated[str, Field(pattern=TAG)]
TagPattern = Annotated[str, AfterValidator(_pattern)]
Text = Annotated[str, Field(pattern=TEXT, max_length=1000), AfterValidator(_seen)]
Version = Annotated[str, AfterValidator(_version), WithJsonSchema({"type": "string", "pattern": VERSION})]
Suffix = Annotated[str, Field(pattern=SUFFIX, max_length=32), AfterValidator(_suffix)]
ProjectName = Annotated[str, Field(pattern=project.NAME, max_length=LONGEST)]
Url = Annotated[str, Field(pattern=URL, max_length=1000)]
License = Annotated[str, AfterValidator(_license)]
Port = Annotated[int, Field(ge=1, le=65535)]
UrlPath = Annotated[str, Field(pattern=URL_PATH)]
InnerPath = Annotated[str, Field(pattern=INNER_PATH)]
Platform = Literal["linux/amd64", "linux/arm64"]  # those that imagematrix.find.wheels finds wheels for
Base = Annotated[str, AfterValidator(_base)]
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
    # defer_build: only MatrixFile is compiled, which halves the time to import this module.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    @field_validator("*", mode="before")
    @classmethod
    def _something(cls, value: object) -> object:
        """Refuse a key without a value: `python:` would mean every Python."""
        if value is None:
            raise ValueError("nothing stands behind it; write a value or remove the key")
        return value


class ProjectEntry(_Entry):
    """Whose images these are: every image says so in its labels."""

    name: ProjectName = Field(description="what our own labels (io.NAME), the cache folder and the builder are called")
    source: Url = Field(description="the repository")
    url: Url = Field(description="the images' page")
    documentation: Url = Field(description="where users read how to use the images")
    vendor: Text = Field(description="who publishes them")
    licenses: License = Field(description="an SPDX expression, such as MIT")


class OSEntry(_Entry):
    """A base operating system."""

    suffix: Suffix = Field(description="what it adds to a tag, such as -slim; empty for the full images")
    short: Suffix | None = Field(
        default=None,
        description="a suffix shared by several releases; the last of them in the file has it, Python by Python",
    )
    libc: Literal["glibc", "musl"] = Field(description="the C library, which decides the wheels")
    description: Text


class PythonEntry(_Entry):
    """A Python version."""

    status: Literal["prerelease", "stable", "eol"] = Field(description="aliases follow the newest that is stable")
    end_of_life: Date = Field(description="the day upstream support ends, YYYY-MM-DD")
    bases: dict[str, Base] = Field(description="for each OS the image to build on")
    unchecked: dict[Name, Text] = Field(
        default={}, description="for each OS whose base does not tell its Python and C library by its name: what it has"
    )


class ExtraEntry(_Entry):
    """Something optional that an image can have."""

    requirement: Requires = Field(description="what is installed for it, such as uvicorn[standard]")
    package: Distribution = Field(description="the distribution that is installed if and only if the extra is there")
    facts: dict[Name, Text] = Field(default={}, description="what is true of an image that has it, for its tests")
    description: Text


class ProbeEntry(_Entry):
    """How to prove that a container serves: an HTTP request and what its answer must contain."""

    port: Port = Field(description="the port inside the container that speaks plain HTTP")
    path: UrlPath = Field(default="/", description="the path to ask for")
    expect: Text = Field(description="what the answer's body contains; {version} is the server's version")

    def expected(self, version: str) -> str:
        """Return what the answer must contain if the server has this version."""
        return self.expect.replace("{version}", version)


class ImageEntry(_Entry):
    """An image: one repository with a tag for each Python and OS."""

    parent: Name | None = Field(default=None, description="the image whose packages, extras and layers it has")
    title: Text
    description: Text
    packages: Annotated[list[Requires], Field(min_length=1)] = Field(description="what is installed, as requirements")
    extras: list[Name] = Field(default=[], description="its own extras, beside the parent's")
    server: Distribution | None = Field(default=None, description="the distribution whose version is in its tags")
    template: InnerPath | None = Field(default=None, description="the template of its Dockerfiles")
    runtime: InnerPath | None = Field(default=None, description="the folder that is copied into it")
    variables: InnerPath | None = Field(
        default=None, description="the program that prints README's reference of its variables, given `runtime`"
    )
    probe: ProbeEntry | None = Field(default=None, description="how to prove that a container of it serves")


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

    model_config = ConfigDict(title="matrix.yaml")

    project: ProjectEntry = Field(description="whose images these are")
    registry: Registry = Field(description="where the images are published, such as docker.io")
    namespace: Namespace = Field(description="the registry's namespace, before the image's name")
    platforms: Annotated[list[Platform], Field(min_length=1)] = Field(description="what every image is built for")
    os: Annotated[dict[Name, OSEntry], Field(min_length=1)] = Field(description="the base operating systems")
    pythons: Annotated[dict[Version, PythonEntry], Field(min_length=1)] = Field(
        description="the Python versions, in quotes: 3.10 without them is the number 3.1"
    )
    extras: dict[Name, ExtraEntry] = Field(description="what images can have beside the server")
    images: Annotated[dict[ImageName, ImageEntry], Field(min_length=1)] = Field(
        description="the images, by repository name"
    )
    exclusions: list[ExclusionEntry] = Field(default=[], description="what is left out, each with its reason")
    tags: list[TagPattern] = Field(
        default=[],
        description="the tags that a variant has beside its own, with "
        + "; ".join(f"{{{name}}}: {meaning}" for name, meaning in PLACEHOLDERS.items()),
    )
    aliases: dict[TagName, AliasEntry] = Field(default={}, description="more tags, such as latest")


@cache
def json_schema() -> dict[str, Any]:
    """Return the JSON schema of matrix.yaml. Like `parse` it allows no null and no key that does not match its
    pattern."""
    from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue  # only generate.py needs them
    from pydantic_core.core_schema import DictSchema, NullableSchema

    class Strict(GenerateJsonSchema):
        def nullable_schema(self, schema: NullableSchema) -> JsonSchemaValue:
            return self.generate_inner(schema["schema"])

        def dict_schema(self, schema: DictSchema) -> JsonSchemaValue:
            made = super().dict_schema(schema)
            return {**made, "additionalProperties": False} if "patternProperties" in made else made

    return MatrixFile.model_json_schema(schema_generator=Strict)


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
    """Return a validation problem as one line for the user."""
    name = ".".join(shortened(str(part)) for part in where) or source.name
    kind, context, value = problem["type"], problem.get("ctx", {}), problem["input"]
    shown = _shown(source, where, value)
    if kind == "extra_forbidden":
        return f"{name} is unknown; {allowed_instead(str(where[-1]), _keys(where))}"
    if kind == "missing":
        return f"{name} is missing"
    if kind == "value_error":
        return f"{name}: {context['error']}"
    if where and isinstance(value, (bool, int, float, datetime.date)) and (kind == "string_type" or _is_names(where)):
        return f"{name}: {as_read(source.scalars[tuple(where)], value)}"
    if kind == "too_short":
        return f"{name} must not be empty"
    if kind == "string_too_long":
        return f"{name} is too long; at most {context['max_length']} characters are allowed"
    if kind == "literal_error":
        return f"{name} must be {context['expected']}, not {shown}"
    if kind == "string_pattern_mismatch":
        return f"{name}: {shown} {_PATTERNS.get(context['pattern'], 'does not match ' + context['pattern'])}"
    if kind == "list_type" and isinstance(value, str):
        return f"{name} must be a list; write it in brackets: [{shown}]"
    return f"{name} must be {_KINDS.get(kind, problem['msg'])}, not {shown}"


def _is_names(where: list[str | int]) -> bool:
    """Say whether one name or a list of names may stand there."""
    return where[0] == "exclusions" and where[-1] in ("python", "os", "image", "extra")


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
    NAMESPACE: "is not a namespace such as team or group/team: allowed are lower-case letters, digits and . _ - /",
    REGISTRY: "is not a registry such as docker.io or localhost:5000: a host, without https:// and without a path",
    DISTRIBUTION: "is not a distribution such as uvicorn: allowed are lower-case letters and digits, with - between",
    TEXT: "must be one line of text that is not empty, without space around it (over several lines of YAML: after >-)",
    project.NAME: "is not a project's name: allowed are lower-case letters and digits, first a letter, with - between",
    URL: "is not an address such as https://example.org/images",
    URL_PATH: "is not a path such as /health",
    INNER_PATH: "is not a path in this repository such as templates/Dockerfile.j2",
    SUFFIX: "is not a suffix such as -slim (or empty)",
    IMAGE: "is not a name: allowed are lower-case letters and digits, first a letter, with . _ or - between them",
}


def _shown(source: Source, where: list[str | int], value: object) -> str:
    """Return a value as it is written in the file, not as YAML reads it."""
    if value is None:
        return "nothing"
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    return shortened(repr(value) if isinstance(value, str) else source.scalars[tuple(where)])


def _keys(where: list[str | int]) -> list[str]:
    """Return the keys that are allowed where the last key of `where` is."""
    entries: dict[str, Any] = {
        "project": ProjectEntry,
        "os": OSEntry,
        "pythons": PythonEntry,
        "extras": ExtraEntry,
        "images": ImageEntry,
        "exclusions": ExclusionEntry,
        "aliases": AliasEntry,
    }
    model = MatrixFile if len(where) == 1 else ProbeEntry if where[2:3] == ["probe"] else entries[str(where[0])]
    return list(model.model_fields)
