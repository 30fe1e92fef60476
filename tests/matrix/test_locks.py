"""Reading locks: whatever is wrong with one is told with its line and what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from imagematrix.errors import InputError
from imagematrix.matrix.locks import Locks, read, without_version
from tests.conftest import Repository, locked

LOCK = locked(
    "3.13",
    ("aioquic", "1.3.0", "hypercorn[h3]"),
    ("hypercorn", "0.18.0", "hypercorn, hypercorn[h3], hypercorn[trio]"),
    ("trio", "0.35.0", "hypercorn[trio]"),
    requirements=("hypercorn>=0.17.3", "hypercorn[h3]", "hypercorn[trio]"),
)


@pytest.fixture
def locks(tmp_path: Path) -> Locks:
    folder = tmp_path / "locks"
    folder.mkdir()
    (folder / "python3.13.txt").write_text(LOCK, encoding="utf-8")
    return Locks(folder)


def test_a_variant_gets_what_its_requirements_need(locks: Locks) -> None:
    def names(*requirements: str) -> list[str]:
        return [package.name for package in locks.closure("3.13", "glibc", requirements)]

    assert names("hypercorn>=0.17.3") == ["hypercorn"]
    assert names("hypercorn>=0.17.3", "hypercorn[h3]") == ["aioquic", "hypercorn"]
    assert names("hypercorn>=0.17.3", "hypercorn[trio]", "hypercorn[h3]") == ["aioquic", "hypercorn", "trio"]


def test_the_lock_of_a_c_library_goes_before_that_of_the_python(locks: Locks) -> None:
    (locks.folder / "python3.13-musl.txt").write_text(LOCK.replace("0.18.0", "0.17.3"), encoding="utf-8")
    versions = [locks.closure("3.13", libc, ("hypercorn>=0.17.3",))[0].version for libc in ("glibc", "musl")]
    assert versions == ["0.18.0", "0.17.3"]


def test_a_lock_made_from_other_requirements(locks: Locks) -> None:
    with pytest.raises(InputError, match=r"^locks/python3\.13\.txt:1: knows nothing of hypercorn>=0\.18, .*make lock$"):
        locks.closure("3.13", "glibc", ("hypercorn>=0.18",))


def test_a_lock_of_another_python(locks: Locks) -> None:
    (locks.folder / "python3.14.txt").write_text(LOCK, encoding="utf-8")
    with pytest.raises(InputError, match=r"python3\.14\.txt:2: is the lock of Python 3\.13, not 3\.14; run: make lock"):
        locks.closure("3.14", "glibc", ("hypercorn>=0.17.3",))


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "ends too early"),
        (LOCK[: LOCK.index("    # for")], 7, "ends too early"),
        (LOCK.replace("sha256:", "md5:", 1), 7, "is not as `make lock` writes it"),
        (LOCK.replace(f"    --hash=sha256:{'0' * 64}\n", "", 1), 7, "is not as `make lock` writes it"),
        (LOCK.replace("aioquic==1.3.0 \\", "aioquic>=1.3.0 \\"), 6, "is not as `make lock` writes it"),
        (LOCK.replace("aioquic==", "<<<<<<< HEAD\naioquic=="), 6, "is not as `make lock` writes it"),
        (LOCK + "# a remark\nsomething", 16, "is not as `make lock` writes it"),
        (LOCK.replace("# python: 3.13\n", ""), 13, "ends too early"),
    ],
)
def test_a_damaged_lock(tmp_path: Path, text: str, line: int, says: str) -> None:
    path = tmp_path / "locks" / "python3.13.txt"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        read(path)
    assert str(error.value) == f"locks/python3.13.txt:{line}: {says}; run: make lock"


def test_a_lock_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "python3.13.txt"
    path.parent.mkdir()
    with pytest.raises(InputError, match=r"^locks/python3\.13\.txt: is missing; run: make lock$"):
        read(path)
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"is not UTF-8 text"):
        read(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match=r"Is a directory"):
        read(path)


def test_a_lock_without_the_server(repository: Repository) -> None:
    path = repository.root / "locks/python3.13.txt"
    path.write_text(path.read_text(encoding="utf-8").replace("\nhypercorn==", "\nhypercorm=="), encoding="utf-8")
    result = repository.run("--validate")
    assert result.status == 2
    assert result.err.startswith("locks/python3.13.txt:1: has no hypercorn, which hypercorn:python3.13 serves with")


@pytest.mark.parametrize(
    ("requirement", "name"),
    [
        ("hypercorn>=0.17.3", "hypercorn"),
        ("Hypercorn[h3] <1", "hypercorn[h3]"),
        ("a_b.c[y,x]==1; python_version<'3.9'", "a-b-c[x,y]"),
    ],
)
def test_a_requirement_without_its_version(requirement: str, name: str) -> None:
    assert without_version(requirement) == name


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (r"\nh11==\S+", "\nh11==none", "none is not a version; run: make lock"),
        (r"\nh2==", "\nh11==", "h11 is there twice; run: make lock"),
    ],
)
def test_a_lock_that_was_edited_by_hand(repository: Repository, old: str, new: str, says: str) -> None:
    path = repository.root / "locks/python3.13.txt"
    text, count = re.subn(old, new, path.read_text(encoding="utf-8"))
    assert count == 1
    path.write_text(text, encoding="utf-8")
    result = repository.run("--validate")
    assert result.status == 2
    assert re.fullmatch(rf"locks/python3\.13\.txt:\d+: {re.escape(says)}\n", result.err)
