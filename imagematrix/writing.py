"""Writes a file whole or not at all, and never through a symbolic link: a pull request can bring one."""

import os
import tempfile
from pathlib import Path, PurePosixPath

from imagematrix.errors import InputError

NEW = ".new-"
"""The prefix of a file's name until the file is complete."""


def refuse_links(folder: Path, path: str) -> None:
    """Raise InputError if `folder`, or a folder between it and `path`, is a symbolic link."""
    places = [folder, *(folder / parent for parent in reversed(PurePosixPath(path).parents[:-1]))]
    for place in places:
        if place.is_symlink():
            name = place.relative_to(folder.parent).as_posix()
            raise InputError(f"{name}:1: is a symbolic link; nothing is written through it; remove it")


def write_whole(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace the file in one step. Raises OSError, and then the file is as it was, and InputError for a link."""
    if path.is_symlink():
        raise InputError(f"{path.name}:1: is a symbolic link; nothing is written through it; remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f"{NEW}{path.name}.", dir=path.parent)
    new = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.chmod(mode)
        new.replace(path)
    except BaseException:
        new.unlink()
        raise
