"""Installed packages without what no server loads."""

from __future__ import annotations

import base64
import csv
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from hypercorn_image.build import trim

GONE = "a/_tests/__pycache__/test_b.pyc"
"""A file that is in a RECORD only, as the byte code of pip in official images."""


@pytest.fixture
def packages(python: str, tmp_path: Path) -> Path:
    """The directory of installed packages with uvloop, and an extension module that has no debug information."""
    command = [python, "-c", "import sysconfig; print(sysconfig.get_path('platlib'))"]
    installed = Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
    for name in ("uvloop", "cryptography"):
        for found in installed.glob(f"{name}*"):
            shutil.copytree(found, tmp_path / found.name)
    return tmp_path


@pytest.fixture
def tested(tmp_path: Path) -> Path:
    """A package with tests that were compiled, as pip installs it."""
    rows = []
    for name in ("a/_tests/__pycache__/test_a.pyc", "a/_tests/test_a.py", "a/__pycache__/testing.pyc", "a/testing.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        rows.append(f"{name},,\n")
    rows.append(f"{GONE},,\n")
    (tmp_path / "a-1.dist-info").mkdir()
    (tmp_path / "a-1.dist-info/RECORD").write_text("".join(rows))
    return tmp_path


def modules(packages: Path) -> dict[str, bytes]:
    return {str(path.relative_to(packages)): path.read_bytes() for path in packages.rglob("*.so")}


@pytest.mark.every_python
def test_what_is_left_of_a_module_works_as_before(python: str, packages: Path) -> None:
    """When uvloop's wheels have no debug information any longer, the program is not needed and this fails."""
    before = modules(packages)
    assert trim.main([str(packages)]) == 0
    after = modules(packages)
    (changed,) = (name for name in before if before[name] != after[name])
    assert changed.startswith("uvloop/")
    assert len(after[changed]) < len(before[changed]) / 2
    script = "import asyncio, uvloop; uvloop.install(); print(asyncio.run(asyncio.sleep(0, uvloop.__file__)))"
    environ = {"PYTHONPATH": str(packages)}
    ran = subprocess.run([python, "-c", script], capture_output=True, text=True, env=environ)
    assert ran.stdout.strip() == str(packages / "uvloop/__init__.py"), ran.stderr


def test_its_distribution_says_its_new_hash_and_size(packages: Path) -> None:
    trim.main([str(packages)])
    (record,) = packages.glob("uvloop-*.dist-info/RECORD")
    (row,) = (row for row in csv.reader(record.read_text().splitlines()) if row[0].endswith(".so"))
    module = (packages / row[0]).read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(module).digest()).decode().rstrip("=")
    assert row[1:] == [f"sha256={digest}", str(len(module))]


def test_a_second_run_changes_nothing(packages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trim.main([str(packages)])
    after = modules(packages)
    capsys.readouterr()
    trim.main([str(packages)])
    assert modules(packages) == after
    assert capsys.readouterr().out == ""


def test_tests_have_no_byte_code_and_are_there(tested: Path) -> None:
    trim.main([str(tested)])
    left = ["a/_tests/test_a.py", "a/__pycache__/testing.pyc", "a/testing.py"]
    assert all((tested / name).exists() for name in left)
    assert not list(tested.glob("a/_tests/__pycache__/*"))
    assert (tested / "a-1.dist-info/RECORD").read_text() == "".join(f"{name},,\n" for name in [*left, GONE])


@pytest.mark.parametrize("module", [b"", b"\x7fELF", b"\x7fELF\x01\x01" + bytes(60), b"\x7fELF\x02\x01" + bytes(58)])
def test_what_is_no_such_module_stays(module: bytes) -> None:
    assert trim.without_debug_information(module) == module
