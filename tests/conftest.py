"""What the tests of the tooling share: a small repository to edit, and runs of the verbs in it without a process."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from imagematrix.errors import exit_status
from imagematrix.matrix.loading import load
from imagematrix.matrix.model import Matrix
from imagematrix.render.generate import main as generate

REPOSITORY = Path(__file__).resolve().parent.parent
INPUTS = ("matrix.yaml", "templates", "runtime", "locks")
"""What generate.py reads."""

Main = Callable[[list[str]], int]


def pytest_configure() -> None:
    """Hear the signals that a background shell or nohup ignores: what a test starts would inherit that."""
    for number, handler in {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGQUIT: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_report_header() -> str:
    """Say what pytest-xdist does not count: it shows no deselected tests."""
    if os.environ.get("FULL"):
        return "FULL=1: every combination"
    return "combinations: pairs, as tests/runtime/conftest.py says (FULL=1 runs all)"


def verbs() -> list[str]:
    """Return the verbs of the Makefile that `make help` lists, in order."""
    return re.findall(r"^([a-z-]+):.*## ", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@dataclass(frozen=True)
class Result:
    """What a run did."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Repository:
    """A copy of this repository's inputs that a test may change, and the verbs run in it."""

    root: Path
    capture: pytest.CaptureFixture[str]

    @property
    def matrix(self) -> Path:
        return self.root / "matrix.yaml"

    @property
    def build(self) -> Path:
        return self.root / "build"

    def edit(self, old: str, new: str, file: str = "matrix.yaml") -> int:
        """Replace the one place of a file that says `old`; return its line in the new file."""
        path = self.root / file
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} is in {file} {text.count(old)} times"
        path.write_text(text.replace(old, new), encoding="utf-8")
        return text[: text.index(old)].count("\n") + 1

    def run(self, *arguments: str, main: Main = generate) -> Result:
        """Run a verb as its process would, errors and exit status included."""
        self.capture.readouterr()

        def command() -> int:
            try:
                return main(["--root", str(self.root), *arguments])
            except SystemExit as exit:
                return int(exit.code or 0)

        status = exit_status(command)
        return Result(status, *self.capture.readouterr())

    def load(self) -> Matrix:
        return load(self.root)

    def snapshot(self) -> dict[str, tuple[bytes, int, int]]:
        """Return every file with its contents, mode and time: equal before and after means that nothing was written."""
        return {
            path.relative_to(self.root).as_posix(): (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns)
            for path in sorted(self.root.rglob("*"))
            if path.is_file()
        }

    def contents(self) -> dict[str, tuple[bytes, int]]:
        """Return every file with its contents and mode."""
        return {path: (data, mode) for path, (data, mode, _) in self.snapshot().items()}


def copy_inputs(root: Path) -> None:
    """Copy what generate.py reads into an empty folder."""
    for name in INPUTS:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, root / name)


@pytest.fixture
def repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Repository:
    """A copy of the inputs under a folder with a space in its name; build/ is not there yet."""
    root = tmp_path / "a repository"
    root.mkdir()
    copy_inputs(root)
    return Repository(root, capsys)


@pytest.fixture(scope="session")
def first_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What generate.py makes of the inputs, made once: to be copied, not changed."""
    root = tmp_path_factory.mktemp("repository")
    copy_inputs(root)
    assert exit_status(lambda: generate(["--root", str(root)])) == 0
    return root / "build"


@pytest.fixture
def generated(repository: Repository, first_build: Path) -> Repository:
    """The same with build/ as generate.py makes it."""
    shutil.copytree(first_build, repository.build)
    return repository


@pytest.fixture
def matrix() -> Matrix:
    """This repository's own matrix."""
    return load(REPOSITORY)


def locked(python: str, *packages: tuple[str, str, str], requirements: tuple[str, ...]) -> str:
    """Return a lock's text for packages given as name, version and the requirements they are for."""
    lines = ["# Generated by `make lock` from matrix.yaml; do not edit.", f"# python: {python}"]
    lines += [f"# requirement: {requirement}" for requirement in requirements]
    for name, version, roots in packages:
        lines += [f"{name}=={version} \\", f"    --hash=sha256:{'0' * 64}", f"    # for {roots}"]
    return "\n".join(lines) + "\n"
