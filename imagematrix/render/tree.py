"""Compares a folder with the files that it should have, and writes those that differ."""

import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from imagematrix.errors import InputError, UserError
from imagematrix.render.render import MANIFEST, File
from imagematrix.writing import NEW, refuse_links, write_whole


@dataclass(frozen=True)
class Changes:
    """How a folder differs from the wanted files: sorted paths."""

    missing: tuple[str, ...]
    stale: tuple[str, ...]
    obsolete: tuple[str, ...]
    foreign: tuple[str, ...]

    @property
    def any(self) -> bool:
        """Say whether a run would write or remove anything."""
        return bool(self.missing or self.stale or self.obsolete)


def last_run(folder: Path) -> tuple[set[str], set[str]]:
    """Return the files and the offers in the folder's manifest, none if it has none. Raises InputError."""
    path = folder / MANIFEST
    name = f"{folder.name}/{MANIFEST}"
    if path.is_fifo():
        raise InputError(f"{name}:1: is not a plain file; remove it")
    try:
        data = json.loads(path.read_bytes())
        return set(map(str, data["files"])), set(map(str, data["offers"]))
    except FileNotFoundError:
        if (folder / "docker-bake.json").is_file():
            raise InputError(
                f"{name}:1: is missing, and without it nobody knows what would go; restore it (git checkout -- {name})"
            ) from None
        return set(), set()
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{name}: is damaged, and without it nobody knows which files here were generated; "
            f"restore it (git checkout -- {name})"
        ) from None


def compare(folder: Path, wanted: Mapping[str, File]) -> Changes:
    """Return how `folder` differs from `wanted`. A file that is neither there nor in the manifest is foreign."""
    for path in wanted:
        refuse_links(folder, path)
    ours, _ = last_run(folder)
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
    """Write the changes. Each file is written whole or not at all. Foreign files stay as they are.

    After an interruption some files are old and some new; the next run continues. The manifest is written last, because
    it lists the obsolete files until they are removed. Raises UserError if a file cannot be written.
    """
    for path in changes.obsolete:
        refuse_links(folder, path)
    try:
        _remove_leftovers(folder)
        for path in sorted((*changes.missing, *changes.stale), key=lambda path: path == MANIFEST):
            if path == MANIFEST:
                _remove(folder, changes.obsolete)
            _write(folder / path, wanted[path])
    except OSError as error:
        raise UserError(f"{folder.name}/: cannot be written: {error.strerror}") from None


def _files(folder: Path) -> Iterator[str]:
    return (path.relative_to(folder).as_posix() for path in _walk(folder) if not path.name.startswith(NEW))


def _walk(folder: Path) -> Iterator[Path]:
    """Yield everything in a folder except folders. A symbolic link to a folder counts as a file."""
    for directory, names, files in os.walk(folder):
        inside = Path(directory)
        links = [name for name in names if (inside / name).is_symlink()]
        yield from (inside / name for name in (*files, *links))


def on_disk(path: Path) -> File:
    """Return a file as it is now."""
    return File(path.read_bytes(), bool(path.stat().st_mode & stat.S_IXUSR))


def _same(path: Path, file: File) -> bool:
    return path.is_file() and not path.is_symlink() and on_disk(path) == file


def _write(path: Path, file: File) -> None:
    if path.is_symlink():
        path.unlink()
    write_whole(path, file.data, 0o755 if file.executable else 0o644)


def _remove(folder: Path, paths: Iterable[str]) -> None:
    """Remove files, and the folders that are empty then."""
    for path in paths:
        (folder / path).unlink()
        for parent in (folder / path).relative_to(folder).parents[:-1]:
            with suppress(OSError):
                (folder / parent).rmdir()


def _remove_leftovers(folder: Path) -> None:
    """Remove the incomplete files of runs that were killed."""
    for path in _walk(folder):
        if path.name.startswith(NEW):
            path.unlink()
