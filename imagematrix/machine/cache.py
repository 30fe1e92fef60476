"""The project's cache folder, with locks between processes and logs."""

import fcntl
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from imagematrix import project


def cache_folder() -> Path:
    """Return the project's cache folder (`$XDG_CACHE_HOME` or `~/.cache`, then its name), made if missing."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / project.name()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def locked(name: str) -> Iterator[int]:
    """Hold the lock NAME against other processes and threads; yields its file descriptor.

    A child that is given the descriptor holds the lock too, for as long as it lives.
    """
    folder = cache_folder() / "locks"
    folder.mkdir(exist_ok=True)
    with (folder / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def logged(command: Sequence[str], name: str) -> Path | None:
    """Run a command with its output in the log NAME; return the log's path if it failed, else None."""
    log = log_path(name)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l"}
    with log.open("wb") as file:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=environment, check=False
        )
    return log if done.returncode else None


def log_path(name: str) -> Path:
    """Return where the log NAME is written."""
    folder = cache_folder() / "log"
    folder.mkdir(exist_ok=True)
    return folder / f"{name}.log"


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log, indented, for an error message."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])
