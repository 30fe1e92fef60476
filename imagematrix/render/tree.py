"""Compares a folder with what should be in it, and brings it there in one step or not at all."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from imagematrix.errors import InputError, UserError
from imagematrix.render.render import MANIFEST, File
from imagematrix.render.writing import refuse_links

_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL)
"""What renameat2(2) says where the kernel or the file system cannot exchange."""


@dataclass(frozen=True)
class Changes:
    """How a folder differs from what should be in it; paths below it, sorted."""

    missing: tuple[str, ...]
    stale: tuple[str, ...]
    obsolete: tuple[str, ...]
    foreign: tuple[str, ...]

    @property
    def any(self) -> bool:
        """Say whether a run would write or remove anything."""
        return bool(self.missing or self.stale or self.obsolete)


@dataclass(frozen=True)
class Manifest:
    """What the last run said of itself."""

    files: frozenset[str]
    offers: frozenset[str]


def manifest(folder: Path) -> Manifest:
    """Return the folder's manifest, an empty one if it has none. Raises InputError if it is damaged."""
    path = folder / MANIFEST
    name = f"{folder.name}/{MANIFEST}"
    if path.is_fifo():
        raise InputError(f"{name}:1: is not a plain file; remove it")
    try:
        data = json.loads(path.read_bytes())
        return Manifest(frozenset(map(str, data["files"])), frozenset(map(str, data["offers"])))
    except FileNotFoundError:
        if (folder / "docker-bake.json").is_file():
            raise InputError(
                f"{name}:1: is missing, and without it nobody knows what would go; restore it (git checkout -- {name})"
            ) from None
        return Manifest(frozenset(), frozenset())
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{name}: is damaged, and without it nobody knows which files here were generated; "
            f"restore it (git checkout -- {name})"
        ) from None


def compare(folder: Path, wanted: Mapping[str, File]) -> Changes:
    """Return how `folder` differs from `wanted`. What neither it nor its manifest lists is foreign."""
    for path in wanted:
        refuse_links(folder, path)
    ours = manifest(folder).files
    there = set(_files(folder))
    extra = there - set(wanted)
    return Changes(
        missing=tuple(sorted(set(wanted) - there)),
        stale=tuple(sorted(path for path in there & set(wanted) if not _same(folder / path, wanted[path]))),
        obsolete=tuple(sorted(extra & ours)),
        foreign=tuple(sorted(extra - ours)),
    )


def differences(folder: Path, changes: Changes, wanted: Mapping[str, File]) -> Iterator[str]:
    """Yield a line for each file that is not as it should be, and the differing lines of the stale ones."""
    import difflib  # only for what differs

    for path in changes.missing:
        yield f"missing: {folder.name}/{path}"
    for path in changes.obsolete:
        yield f"obsolete: {folder.name}/{path}"
    for path in changes.foreign:
        yield f"foreign: {folder.name}/{path}"
    for path in changes.stale:
        yield f"stale: {folder.name}/{path}"
        file = folder / path
        if file.is_symlink() or not file.is_file():
            yield "  is not a plain file"
            continue
        there = on_disk(file)
        if there.executable != wanted[path].executable:
            yield f"  should {'' if wanted[path].executable else 'not '}be executable"
        old = there.data.decode(errors="replace").splitlines()
        new = wanted[path].data.decode(errors="replace").splitlines()
        for line in list(difflib.unified_diff(old, new, lineterm="", n=0))[2:]:
            yield f"  {line}"


def apply(folder: Path, changes: Changes, wanted: Mapping[str, File]) -> None:
    """Make `folder` what is wanted: all of it or, if anything fails, nothing. Foreign files stay as they are.

    The new folder is put together beside the old one and changes places with it in one step. Files that do not change
    are hard links to what they were, so their times stay. Raises UserError if the disk does not let it.
    """
    _remove_leftovers(folder)
    new = Path(tempfile.mkdtemp(prefix=f".{folder.name}.{os.getpid()}.", dir=folder.parent))
    try:
        new.chmod(0o755)
        for path in set(_files(folder)) - set(changes.obsolete) - set(changes.stale):
            _keep(folder / path, new / path)
        for path in (*changes.missing, *changes.stale):
            _write(new / path, wanted[path])
        _exchange(new, folder)
    except OSError as error:
        raise UserError(f"{folder.name}/: cannot be written, and stays as it was: {error.strerror}") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _files(folder: Path) -> Iterator[str]:
    for directory, names, files in os.walk(folder):
        inside = Path(directory)
        links = [name for name in names if (inside / name).is_symlink()]
        for name in (*files, *links):
            yield (inside / name).relative_to(folder).as_posix()


def on_disk(path: Path) -> File:
    """Return a file as it is now."""
    return File(path.read_bytes(), bool(path.stat().st_mode & stat.S_IXUSR))


def _same(path: Path, file: File) -> bool:
    return path.is_file() and not path.is_symlink() and on_disk(path) == file


def _keep(old: Path, new: Path) -> None:
    new.parent.mkdir(parents=True, exist_ok=True)
    os.link(old, new, follow_symlinks=False)


def _write(path: Path, file: File) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.data)
    path.chmod(0o755 if file.executable else 0o644)


def _exchange(new: Path, folder: Path) -> None:
    """Let the two folders change places; renameat2(2) does so in one step, which no kill can halve."""
    if not folder.exists():
        new.rename(folder)
        return
    if folder.is_symlink() or not folder.is_dir():
        raise UserError(f"{folder.name}: is not a plain folder; move it away")
    at_fdcwd, rename_exchange = -100, 2
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "renameat2"):
        if libc.renameat2(at_fdcwd, os.fsencode(new), at_fdcwd, os.fsencode(folder), rename_exchange) == 0:
            return
        code = ctypes.get_errno()
        if code not in _UNSUPPORTED:
            raise OSError(code, os.strerror(code))
    old = new.with_name(f"{new.name}.old")
    folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    old.rename(new)


def _remove_leftovers(folder: Path) -> None:
    """Remove what runs that were killed left behind; a run that still works keeps its own."""
    for left in folder.parent.glob(f".{folder.name}.*.*"):
        pid = left.name.split(".")[2]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(left, ignore_errors=True)
