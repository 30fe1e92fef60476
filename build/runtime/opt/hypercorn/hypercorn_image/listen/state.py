"""The small file that tells the health check where the server listens; `healthcheck.py` reads it.

Not found in the environment alone: a prestart script, a configuration file or an argument may have changed it. Kept in
the first directory that can be written; with a read-only root and no tmpfs there is none, and the health check then
goes by the environment. Lines of fields between tabs, so that reading it needs no import.
"""

import contextlib
import os
from typing import Any, Iterable, Iterator, List, Mapping, Tuple

DIRECTORIES = ("/run", "/tmp", "/dev/shm")
Target = Tuple[bool, str, int]  # whether TLS, host or path of a unix socket, port (0 for a unix socket)


def _paths() -> Iterator[str]:
    directories = (os.environ["STATE_DIRECTORY"],) if os.environ.get("STATE_DIRECTORY") else DIRECTORIES
    for directory in directories:
        yield os.path.join(directory, f"hypercorn-image-{os.getuid()}")


def lines(targets: Iterable[Target], variables: Mapping[str, Any]) -> List[str]:
    """Return the lines of the note."""
    found = []
    for tls, address, port in targets:
        kind = (
            ("unix-tls" if tls else "unix") if address.startswith(("/", "@")) or port == 0 else "tls" if tls else "tcp"
        )
        found.append(f"{kind}\t{address}\t{port}")
    found.append(f"path\t{variables.get('HEALTHCHECK_PATH', '')}")
    found.append(f"timeout\t{variables.get('HEALTHCHECK_TIMEOUT', 5.0)}")
    return found


def write(targets: Iterable[Target], variables: Mapping[str, Any]) -> None:
    """Note `targets`, and what the health check is to ask for; where nothing can be written, do nothing."""
    for path in _paths():
        temporary = f"{path}.{os.getpid()}"
        with contextlib.suppress(OSError):
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write("\n".join(lines(targets, variables)))
            os.replace(temporary, path)
            return


def guess(environ: Mapping[str, str]) -> List[str]:
    """Return the lines for what `environ` alone says; none when it says nothing usable."""
    from hypercorn_image.config import options, settings
    from hypercorn_image.config.kinds import split_bind

    values, problems = settings.from_environment(environ, core_count=1)
    if problems:
        return []
    binds = [(bind, values.get("certfile") is not None) for bind in values["bind"]]
    binds += [(bind, False) for bind in values.get("insecure_bind", [])]
    targets: List[Target] = []
    for bind, tls in binds:
        if bind.startswith("unix:"):
            targets.append((tls, bind[5:], 0))
        elif not bind.startswith("fd://"):
            host, port = split_bind(bind)
            targets.append((tls, local(host), port))
    return lines(targets, options.read_environment(environ)[0])


def local(host: str) -> str:
    """Return the address at which what listens on `host` is reached from inside the container."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def remove() -> None:
    """Remove the note."""
    for path in _paths():
        with contextlib.suppress(OSError):
            os.remove(path)
