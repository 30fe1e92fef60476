"""The patterns of tags in matrix.yaml, and what is put into them.

`{server}` and `{day}` stay in a tag until a lock and a commit tell them. All else is known from the matrix.
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
"""What the matrix does not tell, and how that looks."""


def filled(pattern: str, values: Mapping[str, str | None]) -> str | None:
    """Return a pattern with these values in place; None if it asks for one that is None."""
    for name, value in values.items():
        if f"{{{name}}}" in pattern:
            if value is None:
                return None
            pattern = pattern.replace(f"{{{name}}}", value)
    return pattern


def asks_for(pattern: str, name: str) -> bool:
    """Say whether a pattern has a placeholder left."""
    return f"{{{name}}}" in pattern


def is_complete(pattern: str) -> bool:
    """Say whether nothing is left to be put in."""
    return "{" not in pattern


def looks_like(pattern: str) -> str:
    """Return the regular expression of all tags that a pattern can become."""
    parts = re.split(r"\{(\w+)\}", pattern)
    return "".join(LATER[part] if number % 2 else re.escape(part) for number, part in enumerate(parts))


def release_of(base: str, python: str) -> str | None:
    """Return what an official base's tag says behind its Python, such as -slim-trixie; None if it does not tell."""
    name = reference.parse(base)
    if name.path.rpartition("/")[2] != "python":
        return None
    found = re.fullmatch(rf"{re.escape(python)}(?:\.[0-9]+)*(?:-?(?:a|b|rc)[0-9]*)?(|-.+)", name.tag or "")
    return found[1] if found else None
