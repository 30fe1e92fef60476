"""What tests of images find in a container, on this machine's own Python: tests/images has real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.images.container import Container, broken


class Here(Container):
    """This machine in the place of a container, with one more folder of distributions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(self.folder)}
        return subprocess.run([sys.executable, *command[1:]], env=environment, capture_output=True, text=True).stdout


def test_requirements_that_are_not_met_are_found(tmp_path: Path) -> None:
    (tmp_path / "odd-1.0.dist-info").mkdir()
    needs = ["h11<0.1", "nothing-of-that-name", 'h11<0.2; extra == "more"', 'h11<0.3; python_version < "3"', "H11>0.1"]
    lines = ["Metadata-Version: 2.1", "Name: odd", "Version: 1.0", *(f"Requires-Dist: {one}" for one in needs)]
    (tmp_path / "odd-1.0.dist-info/METADATA").write_text("\n".join([*lines, ""]))
    found = [one.partition(", there is")[0] for one in broken(Here(tmp_path)) if one.startswith("odd")]
    assert found == ["odd needs h11<0.1", "odd needs nothing-of-that-name"]
