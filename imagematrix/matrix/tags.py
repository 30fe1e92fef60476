"""The patterns of tags in matrix.yaml, and their placeholders.

The lock gives the value of `{server}`, and the commit that of `{day}`. All others are known from the matrix.
"""

import re
from collections.abc import Mapping

from imagematrix import reference

PLACEHOLDERS = {
    "tag": "the variant's own tag, such as python3.14-slim",
    "python": "its Python, such as 3.14, or 3.15-rc if that is a pre-release",
    "os": "the suffix of its OS, such as -slim",
    "release": "the same with the base's release, such as -slim-trixie or -alpine3.24",
    "server": "the server's version, such as 0.18.0",
    "day": "the day of the commit that last changed it, such as 20261122; a tag with it never moves",
}
LATER = {"server": r"[0-9][^-]*", "day": "[0-9]{8}"}
"""The placeholders that the matrix does not fill in, and the form of their values."""


def filled(pattern: str, values: Mapping[str, str | None]) -> str | None:
    """Return a pattern with these values; None if it has the placeholder of a value that is None."""
    for name, value in values.items():
        if f"{{{name}}}" in pattern:
            if value is None:
                return None
            pattern = pattern.replace(f"{{{name}}}", value)
    return pattern


def asks_for(pattern: str, name: str) -> bool:
    """Say whether a pattern has this placeholder."""
    return f"{{{name}}}" in pattern


def is_complete(pattern: str) -> bool:
    """Say whether a pattern has no placeholders left."""
    return "{" not in pattern


def looks_like(pattern: str) -> str:
    """Return the regular expression of all tags that a pattern can become."""
    parts = re.split(r"\{(\w+)\}", pattern)
    return "".join(LATER[part] if number % 2 else re.escape(part) for number, part in enumerate(parts))


def release_of(base: str, python: str) -> str | None:
    """Return the part of a base's tag after its Python, such as -slim-trixie; None if it has another form."""
    name = reference.parse(base)
    if name.path.rpartition("/")[2] != "python":
        return None
    found = re.fullmatch(rf"{re.escape(python)}(?:\.[0-9]+)*(?:-?(?:a|b|rc)[0-9]*)?(|-.+)", name.tag or "")
    return found[1] if found else None
