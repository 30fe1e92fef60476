"""Runs the scripts in `scripts/` and keeps their results in the cache."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from imagematrix.console import say
from imagematrix.errors import UserError
from imagematrix.machine import cache

SCRIPTS = Path(__file__).resolve().parent / "scripts"
_RECORD = "made-by"
"""The file in a folder that a script made which holds the script's digest."""
_running: set[subprocess.Popen[bytes]] = set()


def artefact_path(name: str) -> Path:
    """Return where the result NAME of a script is kept, whether or not it is there."""
    folder = cache.cache_folder() / "artefacts"
    folder.mkdir(exist_ok=True)
    return folder / name


def script_digest(script: str) -> str:
    """Return the digest of a script and of all that it sources."""
    names, digest = [script], hashlib.sha256()
    for name in names:
        text = (SCRIPTS / name).read_bytes()
        digest.update(b"%s\0%d\0%s" % (name.encode(), len(text), text))
        sourced = re.findall(rb'^\. "\$\(dirname "\$0"\)/([\w-]+\.sh)"$', text, re.MULTILINE)
        names += [found.decode() for found in sourced if found.decode() not in names]
    return f"sha256:{digest.hexdigest()}"


def made_by(name: str) -> str | None:
    """Return the digest of the script that made the result NAME, None if that is not known."""
    record = artefact_path(name) / _RECORD
    return record.read_text() if record.exists() else None


def is_made(name: str, script: str) -> bool:
    """Say whether NAME is in the cache, made by this script. Results without a recorded digest count as current."""
    return artefact_path(name).exists() and made_by(name) in (None, script_digest(script))


def make_artefact(name: str, script: str, arguments: Sequence[str]) -> Path:
    """Run `scripts/SCRIPT OUT ARGUMENT…` unless its result is in the cache; returns the result, a file or a folder.

    The result is moved into place when the script has succeeded, so a killed script leaves nothing that looks finished.
    Two processes never make the same one. A folder is made again if its script has changed. Raises UserError with the
    end of the log if the script fails.
    """
    finished = artefact_path(name)
    if is_made(name, script):
        return finished
    with cache.locked(name) as lock:
        if is_made(name, script):
            return finished
        work = cache.cache_folder() / "work" / name
        _remove(work)
        work.mkdir(parents=True)
        started = time.monotonic()
        say(f"making {name} …")
        digest = script_digest(script)  # before it runs: after an edit meanwhile it is made again
        status = _run_script([str(SCRIPTS / script), str(work / "out"), *arguments], work, cache.log_path(name), lock)
        if status != 0:
            _remove(work)
            log = cache.log_path(name)
            raise UserError(f"{script} {' '.join(arguments)} failed; log: {log}\n{cache.tail(log)}")
        if (work / "out").is_dir():
            (work / "out" / _RECORD).write_text(digest)
            _remove(finished)
        (work / "out").replace(finished)
        _remove(work)
        say(f"made {name} in {time.monotonic() - started:.0f} s")
    return finished


def _run_script(command: Sequence[str], work: Path, log: Path, lock: int) -> int:
    folder = cache.cache_folder()
    environment = {
        **os.environ,
        "CACHE": str(folder),
        "ARTEFACTS": str(folder / "artefacts"),
        "TMPDIR": str(work),
        "HOST_PYTHON": sys.executable,
    }
    process = None
    try:
        with log.open("wb") as output:
            with deferred():  # a signal between the start and `add` would leave the script running
                # The child holds the lock too: if this process is killed, no other one uses the folder meanwhile.
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
            return process.wait()
    except KeyboardInterrupt:
        end_scripts()
        if process:
            process.wait()
        raise
    finally:
        if process:
            _running.discard(process)


@contextmanager
def deferred() -> Iterator[None]:
    """Delay SIGINT and SIGTERM until the end of the block. Other threads than the main one cannot do this."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: waiting.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for signalled in waiting:
            os.kill(os.getpid(), signalled)


def end_scripts() -> None:
    """End the scripts that are running, and all their children: for Ctrl-C and SIGTERM."""
    for process in list(_running):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)


def _remove(folder: Path) -> None:
    # Never across a mount: a script that died may have left one in its root file system.
    subprocess.run(["rm", "-rf", "--one-file-system", str(folder)], check=False)
