"""Finished or not there at all: what the scripts make, on a machine that may be stopped at any time."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from imagematrix.errors import UserError, exit_status
from imagematrix.machine import apt, artefacts, cache

ROOT = Path(__file__).resolve().parents[2]
COMMAND = """
import pathlib, sys
from imagematrix import cli
from imagematrix.machine import artefacts
artefacts.SCRIPTS = pathlib.Path(sys.argv[1])
cli.run(lambda _: artefacts.make_artefact('thing', 'make.sh', []) and 0)
"""
STAND_IN = """
import os, pathlib, runpy, sys
from imagematrix.machine import apt, artefacts, engine
artefacts.SCRIPTS = pathlib.Path(sys.argv[1])
os.geteuid, apt.is_debian = lambda: 0, lambda: True
apt.install_packages, engine.ensure = lambda *_: None, lambda: None
sys.argv[1:] = ['start', 'builder']
runpy.run_module('imagematrix.machine.buildkit_standin', run_name='__main__')
"""
"""What makes a stand-in for BuildKit, on a machine that has all else."""


@pytest.fixture(autouse=True)
def scripts(tmp_path, monkeypatch):
    """A folder for scripts; returns the function that writes one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(artefacts, "SCRIPTS", tmp_path)

    def write(text):
        script = tmp_path / "make.sh"
        script.write_text(f"#!/bin/sh\nset -eu\n{text}\n")
        script.chmod(0o755)

    return write


def make():
    return artefacts.make_artefact("thing", "make.sh", ["argument"])


def test_made_once(scripts, tmp_path, capsys):
    scripts(f'echo "$2" >"$1"; echo run >>{tmp_path}/runs')
    assert make().read_text() == "argument\n"
    assert make().read_text() == "argument\n"
    assert (tmp_path / "runs").read_text() == "run\n"
    assert [line.split(" in ")[0] for line in capsys.readouterr().err.splitlines()] == ["making thing …", "made thing"]


def test_two_at_once_make_one(scripts, tmp_path):
    scripts(f'sleep 0.3; echo done >"$1"; echo run >>{tmp_path}/runs')
    with ThreadPoolExecutor(4) as pool:
        assert len({pool.submit(make).result() for _ in range(4)}) == 1
    assert (tmp_path / "runs").read_text() == "run\n"


def test_a_failure_leaves_nothing_and_shows_the_end_of_its_log(scripts):
    scripts('echo half >"$1"; echo what went wrong >&2; exit 3')
    with pytest.raises(UserError, match=r"make\.sh argument failed; log: .*thing\.log\n    what went wrong"):
        make()
    assert not artefacts.artefact_path("thing").exists()
    assert not (cache.cache_folder() / "work/thing").exists()


def test_a_kill_leaves_nothing_that_looks_finished(scripts, tmp_path):
    starts, go = tmp_path / "starts", tmp_path / "go"
    scripts(f'echo >>{starts}; echo half >"$1"; while [ ! -e {go} ]; do sleep 0.05; done; echo whole >"$1"')
    process = subprocess.Popen([sys.executable, "-c", COMMAND, str(tmp_path)], cwd=ROOT)
    while not (cache.cache_folder() / "work/thing/out").exists():
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not artefacts.artefact_path("thing").exists()
    with ThreadPoolExecutor() as pool:
        made = pool.submit(make)
        time.sleep(0.5)  # long enough for the script to start, were it not kept out
        assert starts.read_text() == "\n", "the script that outlived its parent keeps the lock"
        go.touch()
        assert made.result(60).read_text() == "whole\n"


def test_a_folder_is_made_again_when_its_script_or_what_that_sources_has_changed(scripts, tmp_path):
    def text(word):
        return f'. "$(dirname "$0")/common.sh"\nmkdir "$1"; echo {word} $common >"$1/word"'

    (tmp_path / "common.sh").write_text("common=1\n")
    scripts(text("one"))
    assert (make() / "word").read_text() == "one 1\n"
    scripts(text("two"))
    assert (make() / "word").read_text() == "two 1\n"
    (tmp_path / "common.sh").write_text("common=2\n")
    assert (make() / "word").read_text() == "two 2\n"
    (artefacts.artefact_path("thing") / "made-by").unlink()
    scripts(text("three"))
    assert (make() / "word").read_text() == "two 2\n", "of a cache from before there were records"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("command", "name"), [(COMMAND, "thing"), (STAND_IN, "sid-docker.io")], ids=["verb", "builder"]
)
def test_a_signal_ends_the_script(scripts, tmp_path, command, name, number):
    scripts(f"echo $$ >{tmp_path}/pid; sleep 60")
    (tmp_path / "debian-package.sh").symlink_to("make.sh")
    process = subprocess.Popen(
        [sys.executable, "-c", command, str(tmp_path)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored below a shell's &
    )
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(60) == 130
    assert process.stderr.read().decode() == f"making {name} …\ninterrupted\n"
    deadline = time.monotonic() + 60
    while Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists():
        assert time.monotonic() < deadline, "the script outlived its parent"
        time.sleep(0.02)


def test_missing_packages_are_named_where_they_are_not_ours_to_install(monkeypatch):
    monkeypatch.setattr(apt, "is_debian", lambda: True)
    monkeypatch.setattr(apt, "_is_installed", lambda package: package == "gcc")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UserError, match=r"sudo apt-get install musl-tools$"):
        apt.install_packages(["gcc", "musl-tools"], "building")
    monkeypatch.setattr(apt, "is_debian", lambda: False)
    with pytest.raises(UserError, match="building needs gcc, musl-tools: install them"):
        apt.install_packages(["gcc", "musl-tools"], "building")


def test_a_users_error_is_one_line_and_its_status(capsys):
    def fails():
        raise UserError("not so")

    assert exit_status(fails) == 1
    assert capsys.readouterr().err == "not so\n"
