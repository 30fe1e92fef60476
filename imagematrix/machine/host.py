"""What the verbs need of the machine they run on: a cache folder, locks, packages, and the scripts in `scripts/`.

Not for anything about images or the engine: those are `engine` and `bases`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imagematrix.errors import UserError

Say = Callable[[str], None]


def say(line: str) -> None:
    """Tell the user what is going on; results alone go to standard output."""
    print(line, file=sys.stderr, flush=True)


SCRIPTS = Path(__file__).resolve().parent / "scripts"
_RECORD = "made-by"
"""The file in a folder that a script made which holds the script's digest."""
_running: set[subprocess.Popen[bytes]] = set()


def cache_folder() -> Path:
    """Return the project's cache folder (`$XDG_CACHE_HOME` or `~/.cache`, then `hypercorn-images`), made if missing."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "hypercorn-images"
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


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file so that a reader sees the old text or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=path.name, dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).chmod(mode)
    Path(name).replace(path)


def is_debian() -> bool:
    """Tell whether this is Debian, Ubuntu or one of their kind, with apt."""
    try:
        lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    names = " ".join(line.partition("=")[2] for line in lines if line.startswith(("ID=", "ID_LIKE=")))
    return {"debian", "ubuntu"} & set(names.replace('"', " ").split()) != set() and shutil.which("apt-get") is not None


def _is_installed(package: str) -> bool:
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout == "installed"


def has_package(package: str) -> bool:
    """Tell whether this machine's apt can install a package of that name."""
    query = ["apt-cache", "show", "--no-all-versions", package]
    return subprocess.run(query, capture_output=True, check=False).returncode == 0


def install_packages(packages: Iterable[str], purpose: str, say: Say) -> None:
    """Install those of the Debian packages that are missing, saying so.

    Raises UserError, naming them, where that is not ours to do (not root, not Debian) and when apt fails.
    """
    wanted = list(packages)
    if not is_debian():
        raise UserError(
            f"{purpose} needs {', '.join(wanted)}: install them (done by itself on Debian and Ubuntu, as root)"
        )
    missing = [package for package in wanted if not _is_installed(package)]
    if not missing:
        return
    if os.geteuid() != 0:
        raise UserError(f"{purpose} needs packages that are missing: sudo apt-get install {' '.join(missing)}")
    say(f"installing with apt, for {purpose}: {' '.join(missing)}")
    with locked("apt-get"):
        command = [
            "apt-get",
            "install",
            "-y",
            "-q",
            "--no-install-recommends",
            "-o",
            "DPkg::Lock::Timeout=300",
            *missing,
        ]
        log = logged(command, "apt-install")
        if log is None:
            return
        # Lists that are missing or old are the usual reason.
        logged(["apt-get", "update", "-q", "-o", "DPkg::Lock::Timeout=300"], "apt-update")
        log = logged(command, "apt-install")
    if log is not None:
        raise UserError(f"apt could not install {' '.join(missing)}; its words are in {log}\n{tail(log)}")


def logged(command: Sequence[str], name: str) -> Path | None:
    """Run a command with its output in the log NAME; returns the log's path if it failed, None if all went well."""
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


def artefact_path(name: str) -> Path:
    """Return where the finished result NAME of a script is kept, whether or not it is there."""
    folder = cache_folder() / "artefacts"
    folder.mkdir(exist_ok=True)
    return folder / name


def script_digest(script: str) -> str:
    """Return the digest of a script and of all that it sources."""
    names, digest = [script], hashlib.sha256()
    for name in names:
        text = (SCRIPTS / name).read_bytes()
        digest.update(b"%s\0%d\0%s" % (name.encode(), len(text), text))
        sourced = re.findall(rb'^\. "\$\(dirname "\$0"\)/([\w-]+\.sh)"$', text, re.MULTILINE)
        names += [one.decode() for one in sourced if one.decode() not in names]
    return f"sha256:{digest.hexdigest()}"


def made_by(name: str) -> str | None:
    """Return the digest of the script that made the result NAME, None if that is not known."""
    record = artefact_path(name) / _RECORD
    return record.read_text() if record.exists() else None


def is_made(name: str, script: str) -> bool:
    """Say whether the result NAME is in the cache and its script the same; what says nothing of its script counts."""
    return artefact_path(name).exists() and made_by(name) in (None, script_digest(script))


def make_artefact(name: str, script: str, arguments: Sequence[str], say: Say) -> Path:
    """Run `scripts/SCRIPT OUT ARGUMENT…` unless its result is in the cache; returns the result, a file or a folder.

    The result is moved into place when the script has ended well, so a kill leaves nothing that looks finished, and
    two processes never make the same one. A folder is made again when its script has changed. Raises UserError with the
    end of the log when the script fails.
    """
    finished = artefact_path(name)
    if is_made(name, script):
        return finished
    with locked(name) as lock:
        if is_made(name, script):
            return finished
        work = cache_folder() / "work" / name
        _remove(work)
        work.mkdir(parents=True)
        started = time.monotonic()
        say(f"making {name} …")
        digest = script_digest(script)  # before it runs: an edit meanwhile has it made again
        status = _run_script([str(SCRIPTS / script), str(work / "out"), *arguments], work, log_path(name), lock)
        if status != 0:
            _remove(work)
            raise UserError(f"{script} {' '.join(arguments)} failed; log: {log_path(name)}\n{tail(log_path(name))}")
        if (work / "out").is_dir():
            (work / "out" / _RECORD).write_text(digest)
            _remove(finished)
        (work / "out").replace(finished)
        _remove(work)
        say(f"made {name} in {time.monotonic() - started:.0f} s")
    return finished


def _run_script(command: Sequence[str], work: Path, log: Path, lock: int) -> int:
    cache = cache_folder()
    environment = {
        **os.environ,
        "CACHE": str(cache),
        "ARTEFACTS": str(cache / "artefacts"),
        "TMPDIR": str(work),
        "HOST_PYTHON": sys.executable,
    }
    with log.open("wb") as output:
        # The child holds the lock too: if this process is killed, nobody works in the folder beside an orphan.
        process = subprocess.Popen(
            ["nice", *command],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[lock],
        )
    _running.add(process)
    try:
        with ended_by_sigterm():
            return process.wait()
    except KeyboardInterrupt:
        end_scripts()
        process.wait()
        raise
    finally:
        _running.discard(process)


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Have SIGTERM end the scripts that run, and then this process as ever. Only the main thread can have it so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: Any) -> None:
        end_scripts()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def end_scripts() -> None:
    """End the scripts that are running, with all that they started: for Ctrl-C and SIGTERM."""
    for process in list(_running):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)


def _remove(folder: Path) -> None:
    # Never across a mount: a script that died may have left one in its root file system.
    subprocess.run(["rm", "-rf", "--one-file-system", str(folder)], check=False)
