"""What a terminal of 80 columns shows."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence

import pytest

from imagematrix.matrix.model import Matrix
from tests.conftest import REPOSITORY, verbs

COLUMNS = 80
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def shown(command: Sequence[str], **environ: str) -> str:
    """Return what a command writes to a terminal, with the escape sequences."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=REPOSITORY, env={**kept, "TERM": "xterm", **environ}
    )
    os.close(theirs)
    data = b""
    while piece := read(ours):
        data += piece
    os.close(ours)
    assert process.wait() == 0, data.decode()
    return data.decode().replace("\r\n", "\n")


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # nobody has the other end any more
        return b""


LIST = [sys.executable, "generate.py", "--list"]
PRINT = """
from imagematrix.console import table
table(["image", "tag", "reason"], [["hypercorn-fastapi", "python3.15-alpine", " ".join(["because"] * 30)]])
"""


def test_the_list_of_variants_fits_and_has_every_tag_whole(matrix: Matrix) -> None:
    lines = ESCAPE.sub("", shown(LIST)).splitlines()
    assert max(map(len, lines)) <= COLUMNS
    rows = [line.split()[:2] for line in lines[2:] if not line.startswith(" ")]
    assert rows == [[one.image.name, one.tag] for one in matrix.variants]


def test_a_long_reason_is_wrapped_and_whole() -> None:
    lines = ESCAPE.sub("", shown([sys.executable, "-c", PRINT])).splitlines()
    assert max(map(len, lines)) <= COLUMNS
    assert "\n".join(lines).count("because") == 30
    assert sum("hypercorn-fastapi  python3.15-alpine" in line for line in lines) == 1


@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_no_color_is_respected(environ: dict[str, str], coloured: bool) -> None:
    text = shown([*LIST, "--python", "3.13"], **environ)
    assert (re.search(r"\x1b\[(3|4|9)\d", text) is not None) <= coloured
    if environ.get("TERM") == "dumb":
        assert ESCAPE.search(text) is None


def test_the_help_fits_and_names_every_target_under_a_stage() -> None:
    text = shown(["make", "help"])
    assert max(map(len, text.splitlines())) <= COLUMNS
    assert re.findall(r"^  ([a-z-]+) ", text, re.MULTILINE) == verbs()
    assert re.findall(r"^([A-Z][a-z]+)$", text, re.MULTILINE) == ["Find", "Render", "Build", "Prove", "Publish"]
