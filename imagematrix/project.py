"""The repository and its project's name, for code without the matrix: cache folder, builder, stand-ins."""

import re
from functools import cache
from pathlib import Path

import yaml

from imagematrix.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
"""The repository."""
NAME = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
"""A name that is valid in a path, in a label and as the name of a builder."""


@cache
def name() -> str:
    """Return `project.name` of the repository's matrix.yaml. Raises InputError if there is none that can be read."""
    try:
        found = yaml.safe_load((ROOT / "matrix.yaml").read_text(encoding="utf-8"))["project"]["name"]
    except (OSError, UnicodeError, yaml.YAMLError, LookupError, TypeError):
        found = None
    if not isinstance(found, str) or not re.fullmatch(NAME, found):
        raise InputError("matrix.yaml: project.name cannot be read; run: make check")
    return found
