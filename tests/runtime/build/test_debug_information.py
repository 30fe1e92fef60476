"""Extension modules without the debug information that they were published with."""

from __future__ import annotations

import base64
import csv
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from hypercorn_image.build import debug_information


@pytest.fixture
def packages(python: str, tmp_path: Path) -> Path:
    """The directory of installed packages with uvloop, and an extension module that has no debug information."""
    command = [python, "-c", "import sysconfig; print(sysconfig.get_path('platlib'))"]
    installed = Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
    for found in [*installed.glob("uvloop*"), *installed.glob("cryptography*")]:
        shutil.copytree(found, tmp_path / found.name)
    return tmp_path


def modules(packages: Path) -> dict[str, bytes]:
    return {str(path.relative_to(packages)): path.read_bytes() for path in packages.rglob("*.so")}


@pytest.mark.every_python
def test_what_is_left_of_a_module_works_as_before(python: str, packages: Path) -> None:
    """When uvloop's wheels have no debug information any longer, the program is not needed and this fails."""
    before = modules(packages)
    assert debug_information.main([str(packages)]) == 0
    after = modules(packages)
    (changed,) = (name for name in before if before[name] != after[name])
    assert changed.startswith("uvloop/")
    assert len(after[changed]) < len(before[changed]) / 2
    script = "import asyncio, uvloop; uvloop.install(); print(asyncio.run(asyncio.sleep(0, uvloop.__file__)))"
    environ = {"PYTHONPATH": str(packages)}
    ran = subprocess.run([python, "-c", script], capture_output=True, text=True, env=environ)
    assert ran.stdout.strip() == str(packages / "uvloop/__init__.py"), ran.stderr


def test_its_distribution_says_its_new_hash_and_size(packages: Path) -> None:
    debug_information.main([str(packages)])
    (record,) = packages.glob("uvloop-*.dist-info/RECORD")
    (row,) = (row for row in csv.reader(record.read_text().splitlines()) if row[0].endswith(".so"))
    module = (packages / row[0]).read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(module).digest()).decode().rstrip("=")
    assert row[1:] == [f"sha256={digest}", str(len(module))]


def test_a_second_run_changes_nothing(packages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    debug_information.main([str(packages)])
    after = modules(packages)
    capsys.readouterr()
    debug_information.main([str(packages)])
    assert modules(packages) == after
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("module", [b"", b"\x7fELF", b"\x7fELF\x01\x01" + bytes(60), b"\x7fELF\x02\x01" + bytes(58)])
def test_what_is_no_such_module_stays(module: bytes) -> None:
    assert debug_information.without_debug_information(module) == module
