"""The Python that all servers run on: a virtual environment in the cache folder with the wheels of requirements.txt."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

from uv import find_uv_bin

from imagematrix.console import say
from imagematrix.errors import UserError
from imagematrix.machine import cache
from tests.runtime.conftest import compile_runtime, interpreter

REQUIREMENTS = Path(__file__).parent / "requirements.txt"
VERSION = "3.13"
"""The Python that requirements.txt is made for."""


def python() -> Path:
    """Return the environment's Python; make it if it is not there. Raises UserError where that cannot be done."""
    base = interpreter(VERSION)
    if base is None:
        raise UserError(f"the benchmark runs on Python {VERSION}, which is not here; run: pyenv install {VERSION}")
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = cache.cache_folder() / "benchmark" / f"python{VERSION}-{digest}"
    found = folder / "bin" / "python"
    with cache.locked("benchmark"):
        if not (folder / "ready").exists():
            say(f"making {folder}")
            _uv("venv", "--clear", "--python", str(base), str(folder))
            options = ("--require-hashes", "--only-binary", ":all:", "--compile-bytecode")
            _uv("pip", "install", "--python", str(found), *options, "-r", str(REQUIREMENTS))
            (folder / "ready").touch()
        compile_runtime(found)
    return found


def versions(python: Path) -> dict[str, str]:
    """Return the version of each package of an environment."""
    return {
        one["name"]: one["version"]
        for one in json.loads(_uv("pip", "list", "--format", "json", "--python", str(python)))
    }


def _uv(*arguments: str) -> str:
    done = subprocess.run([find_uv_bin(), "--no-config", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"uv {arguments[0]} failed for the benchmark: {' '.join(done.stderr.split())}")
    return done.stdout
