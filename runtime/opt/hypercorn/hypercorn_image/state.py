"""The small file that tells the health check where the server listens.

Not found in the environment alone: a prestart script, a configuration file or an argument may have changed it. Kept in
the first directory that can be written; with a read-only root and no tmpfs there is none, and the health check then goes
by the environment.
"""

import contextlib
import json
import os
from typing import Any, Dict, Iterator, List, Mapping

DIRECTORIES = ("/run", "/tmp", "/dev/shm")


def _paths() -> Iterator[str]:
    directories = (os.environ["STATE_DIRECTORY"],) if os.environ.get("STATE_DIRECTORY") else DIRECTORIES
    for directory in directories:
        yield os.path.join(directory, f"hypercorn-image-{os.getuid()}.json")


def write(targets: List[List[Any]], variables: Mapping[str, Any]) -> None:
    """Note `targets`, each [is TLS, unix path or host, port], and what the health check is to ask for."""
    text = json.dumps(
        {
            "targets": targets,
            "path": variables.get("HEALTHCHECK_PATH"),
            "timeout": variables.get("HEALTHCHECK_TIMEOUT", 5.0),
        }
    )
    for path in _paths():
        with contextlib.suppress(OSError):
            temporary = f"{path}.{os.getpid()}"
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(temporary, path)
            return


def read() -> Dict[str, Any]:
    """Return what was noted; empty when nothing was, or the file is another user's."""
    for path in _paths():
        with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_uid == os.getuid():
                found: Dict[str, Any] = json.load(file)
                return found
    return {}


def remove() -> None:
    """Remove the note."""
    for path in _paths():
        with contextlib.suppress(OSError):
            os.remove(path)
