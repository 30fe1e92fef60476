"""The Pythons and worker classes that the runtime's tests run on.

A test runs on the host's own Python. One marked `every_python` runs on each that pyenv has too; the missing ones are
skipped, and said. One marked `every_class` runs on each worker class. One with both marks runs on each Python with one
class in turn, and the next test of its module with the next class. So these pairs are covered, and not all their
combinations:

- Python and test
- worker class and test
- Python and worker class, in each module that has three such tests

A test with more parameters than these runs with each pair of their values, and on each Python with one of them: three
parameters and more are not combined with each other. What is left out is deselected, and the run's header says so.

FULL=1 runs every combination. trio is not in the Python 3.9 images: there the other two classes take turns.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import shutil
import subprocess
import sys
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.runtime.launching import CLASSES, Launch
from tests.runtime.server import RUNTIME, Server, launch

ROOT = Path(__file__).parents[2]
VERSIONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13")
"""Those that pyenv is asked for."""
FULL = bool(os.environ.get("FULL"))
OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"


@cache
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
    if "python" not in metafunc.fixturenames:
        return
    versions = VERSIONS if is_marked(metafunc.function, "every_python") else (OWN,)
    if not is_marked(metafunc.function, "every_class"):
        metafunc.parametrize("python", versions, indirect=True)
        return
    if len(versions) == 1 or FULL:
        pairs = [(version, name) for version in versions for name in classes(version)]
    else:
        pairs = in_turn(place_among_tests(metafunc.function, metafunc.module))
    metafunc.parametrize(("python", "worker_class"), pairs, indirect=True)


def is_marked(function: object, name: str) -> bool:
    marks: list[pytest.Mark] = getattr(function, "pytestmark", [])
    return any(mark.name == name and mark.kwargs.get("when", True) for mark in marks)


def place_among_tests(function: object, module: ModuleType) -> int:
    """Return which of the tests with both marks this is in its module. It is the same whichever tests are run."""
    both = [one for one in vars(module).values() if is_marked(one, "every_python") and is_marked(one, "every_class")]
    return both.index(function)


def classes(version: str) -> tuple[str, ...]:
    return tuple(name for name in CLASSES if (version, name) != ("3.9", "trio"))


def in_turn(first: int) -> list[tuple[str, str]]:
    """Return each version with one class in turn; with the host's own those that no other Python here has."""
    turns = [(version, classes(version)) for version in VERSIONS]
    pairs = [(version, names[(first + turn) % len(names)]) for turn, (version, names) in enumerate(turns)]
    covered = {name for version, name in pairs if interpreter(version)}
    return pairs + [(OWN, name) for name in CLASSES if name not in covered]


@pytest.hookimpl(trylast=True)  # after -k and -m
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if FULL:
        return
    here = Path(__file__).parent
    ours = [item for item in items if isinstance(item, pytest.Function) and item.path.is_relative_to(here)]
    left_out = set(ours)
    for _, cases in itertools.groupby(ours, key=lambda item: item.nodeid.partition("[")[0]):
        left_out.difference_update(pairwise(list(cases)))
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


def pairwise(cases: list[pytest.Function]) -> list[pytest.Function]:
    """Return few cases of one test that together have all pairs of values which all of them have."""
    kept, wanted = [], {case: pairs(case) for case in cases}
    missing = set[object]().union(*wanted.values())
    while missing:
        kept.append(max(cases, key=lambda case: len(wanted[case] & missing)))
        missing -= wanted[kept[-1]]
    return kept


def pairs(case: pytest.Function) -> set[object]:
    """Return the pairs of parameters that a case covers. A Python counts alone, and what is in one table as one."""
    if not hasattr(case, "callspec"):
        return {()}
    values = {name: repr(value) for name, value in case.callspec.params.items()}
    python = values.pop("python", OWN).strip("'")
    if interpreter(python) is None:
        return {python}
    for mark in case.iter_markers("parametrize"):
        names = mark.args[0].replace(",", " ").split() if isinstance(mark.args[0], str) else mark.args[0]
        values[names[0]] = " ".join([values.pop(name) for name in names])
    return {python, *itertools.combinations(sorted(values.items()), min(2, len(values)))}


@pytest.fixture
def python(request: pytest.FixtureRequest) -> str:
    version: str = request.param
    if interpreter(version) is None:
        pytest.skip(f"this machine has no Python {version}")
    path = environment(version)
    compile_runtime(path)
    return str(path)


@cache
def compile_runtime(python: Path) -> None:
    """Compile the runtime once for a Python, as in the images: each server that starts would do it again."""
    subprocess.run([python, "-m", "compileall", "-q", RUNTIME / "opt/hypercorn"], check=True)


@pytest.fixture
def python_version(request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["python"])


@pytest.fixture
def worker_class(request: pytest.FixtureRequest) -> str:
    return str(request.param)


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
