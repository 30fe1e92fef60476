"""The Pythons that the runtime's tests run on: this one, and those of pyenv.

A test asks for `python` and runs once, on the host's own; one marked `every_python` runs on each that is here. The
missing ones are skipped, and said.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.launching import Launch
from tests.runtime.server import RUNTIME, Server, launch

ROOT = Path(__file__).parents[2]
VERSIONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13")
"""Those that pyenv is asked for."""
OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "every_python(when=True): run on every Python that this machine has")


def interpreter(version: str) -> Path | None:
    """Return an interpreter of that version, or None."""
    if version == OWN:
        return Path(sys.executable)
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = sorted(root.glob(f"{version}.*/bin/python"))
    return found[-1] if found else None


@cache
def environment(version: str) -> Path:
    """Return the Python of a virtual environment with what the lock of that version says, made when it is not there."""
    if version == OWN:
        return Path(sys.executable)
    lock = ROOT / "locks" / f"python{version}.txt"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = cache_home / "hypercorn-images" / "host-pythons" / f"python{version}-{digest}"
    directory.parent.mkdir(parents=True, exist_ok=True)
    with (directory.parent / f"{directory.name}.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # pytest-xdist: one makes it, the others wait
        if not (directory / "ready").exists():
            subprocess.run([str(interpreter(version)), "-m", "venv", "--clear", directory], check=True)
            pip = [directory / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
            subprocess.run([*pip, "--no-deps", "--require-hashes", "-r", lock], check=True)
            (directory / "ready").touch()
    return directory / "bin" / "python"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "python" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("every_python")
        every = marker is not None and marker.kwargs.get("when", True)
        metafunc.parametrize("python", VERSIONS if every else [OWN], indirect=True)


@pytest.fixture
def python(request: pytest.FixtureRequest) -> str:
    version: str = request.param
    if interpreter(version) is None:
        pytest.skip(f"this machine has no Python {version}")
    return str(environment(version))


@pytest.fixture
def python_version(request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["python"])


@pytest.fixture
def worker_class(request: pytest.FixtureRequest, python_version: str) -> Iterator[str]:
    name: str = getattr(request, "param", "asyncio")
    if name == "trio" and python_version == "3.9":
        pytest.skip("trio is not in the Python 3.9 images")
    yield name


@pytest.fixture
def unprivileged() -> None:
    """Asked for by a test whose server is to have no more capabilities than a container has."""


@pytest.fixture
def server(python: str, tmp_path: Path, request: pytest.FixtureRequest) -> Launch:
    drop = ["setpriv", "--bounding-set=-net_admin,-bpf", "--inh-caps=-net_admin,-bpf"]
    wanted = "unprivileged" in request.fixturenames and os.getuid() == 0 and shutil.which("setpriv")

    def start(*arguments: str, **environ: Any) -> AbstractContextManager[Server]:
        variables = {name: str(value) for name, value in environ.items()}
        command = [*(drop if wanted else []), python, str(RUNTIME / "opt/hypercorn/serve.py")]
        return launch(python, tmp_path / "app", *arguments, command=command, environ=variables)

    return start
