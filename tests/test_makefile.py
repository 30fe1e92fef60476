"""What several `make` do at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PYTHON = """\
#!/bin/sh
# A python3 whose virtual environments are made slowly, and whose pip installs nothing.
if [ "$1 $2" = "-m venv" ]; then
    echo made >>made
    mkdir "$3" && sleep 1 && mkdir "$3/bin"
    printf '#!/bin/sh\\n' >"$3/bin/pip"
    cp "$3/bin/pip" "$3/bin/python"
    chmod +x "$3/bin/pip" "$3/bin/python"
else
    exec {python} "$@"
fi
"""


@pytest.mark.parametrize("verb", ["generate", "check"])
def test_a_filter_leaves_the_readme_alone(verb: str) -> None:
    """It tells of all variants, and so needs the locks of all."""

    def commands(*filters: str) -> str:
        command = ["make", "--dry-run", "--old-file", ".venv/ready", verb, *filters]
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout

    assert "imagematrix.render.readme" in commands()
    assert "imagematrix.render.readme" not in commands("PYTHON=3.13")


def test_four_at_once_make_one_environment(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").write_text(PYTHON.format(python=sys.executable))
    (tmp_path / "bin/python3").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    at_once = [
        subprocess.Popen(
            ["make", ".venv/ready"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    ends = [(one.communicate(timeout=120)[1], one.returncode) for one in at_once]
    assert sorted(ends) == [("", 0)] * 3 + [("making .venv from requirements.txt\n", 0)]
    assert (tmp_path / "made").read_text() == "made\n"
