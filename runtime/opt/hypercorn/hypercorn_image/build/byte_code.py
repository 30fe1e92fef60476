# SPDX-License-Identifier: MIT
"""Compiles the modules of the standard library that a server imports: `python -m hypercorn_image.build.byte_code`.

Official Python images have no byte code: https://github.com/docker-library/python/blob/master/Dockerfile-linux.template
deletes it. Without this, each new container compiles about 200 modules before its first answer.
"""

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import sysconfig
from typing import Iterator

from hypercorn_image import launcher  # noqa: F401
from hypercorn_image.app import application
from hypercorn_image.config import effective
from hypercorn_image.process import supervisor  # noqa: F401
from hypercorn_image.worker import running


def main() -> int:
    """Compile what has no byte code yet. It is never checked again: nobody edits the standard library in place."""
    found = effective.load({}, [], application.DIRECTORY)
    running.before_fork(found.config, found.variables)
    importlib.metadata.version("hypercorn")  # as the demo application does, and many others
    "localhost".encode("idna")  # as a socket does with a name
    listing = "".join(f"{source}\n" for source in sorted(_to_compile()))
    # In another process, where what was imported here cannot change the bytes that are written.
    command = [sys.executable, "-Bm", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-i", "-"]
    return subprocess.run(command, input=listing.encode()).returncode


def _to_compile() -> Iterator[str]:
    library = os.path.join(sysconfig.get_path("stdlib"), "")  # with what the base has installed, which site may import
    for source in [getattr(module, "__file__", None) or "" for module in sys.modules.values()]:
        python = source.startswith(library) and source.endswith(".py")
        if python and not os.path.exists(importlib.util.cache_from_source(source)):
            yield source


if __name__ == "__main__":
    sys.exit(main())
