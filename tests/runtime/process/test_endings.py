"""The log says how a worker has ended: an OOM kill, another SIGKILL, a crash, `sys.exit` and `os._exit` apart."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypercorn_image.process import endings

from tests.runtime.launching import Launch, every_class
from tests.runtime.server import RUNTIME, Server, launch, request, wait_for

SERVING = " while it was serving; restarting"
OUT_OF_MEMORY = "exited with SIGKILL (out of memory: use fewer workers, or raise the container's memory limit)"
SENT = "exited with SIGKILL (somebody has sent it: the kernel has counted no OOM kill in this container)"
CRASH = "(a crash in a compiled module: PYTHONFAULTHANDLER=1 logs where)"


def end(one: Server, path: str) -> None:
    """Ask for what ends the worker."""
    with suppress(EOFError, OSError):
        request(one.address, path)


@every_class
@pytest.mark.every_python
def test_sys_exit_in_a_request(server: Launch, worker_class: str) -> None:
    with server(WORKER_CLASS=worker_class, WEB_CONCURRENCY=1) as one:
        end(one.serving(), "/sys-exit?status=3")
        log = one.wait_log(SERVING)
        assert re.search(r"exited with status 3 \(sys\.exit in \S+/main\.py, line \d+\) while", log)
        assert "Traceback" not in log.split("sys.exit in")[-1]
        assert one.get()["pid"] in one.children()


@pytest.mark.parametrize("worker_class", ["asyncio", "trio"])
def test_sys_exit_in_a_wsgi_application(server: Launch, worker_class: str) -> None:
    with server(WORKER_CLASS=worker_class, WEB_CONCURRENCY=1, APP_MODULE="main:wsgi") as one:
        end(one.serving(), "/sys-exit")
        assert re.search(r"status 3 \(sys\.exit in \S+/main\.py, line \d+\)", one.wait_log(SERVING))


def test_sys_exit_with_a_message(server: Launch) -> None:
    with server(WEB_CONCURRENCY=1) as one:
        end(one.serving(), "/sys-exit?message=the+database+is+away")
        assert "exited with status 1 (sys.exit in " in one.wait_log(SERVING)
        assert "\nthe database is away\n" in one.log


def test_sys_exit_during_the_import(server: Launch, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "leaves.py").write_text("import sys\n\nsys.exit(7)\n")
    with server(MODULE_NAME="leaves") as one:
        assert one.wait() == 1
        assert re.search(
            r"it exited with status 7 \(sys\.exit in \S+/leaves\.py, line 3\) while it was starting", one.log
        )


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/exit?status=4", "exited with status 4 (the application has called os._exit, or an error above ended"),
        ("/crash?signal=SIGSEGV", f"exited with SIGSEGV {CRASH}"),
        ("/crash?signal=SIGABRT", f"exited with SIGABRT {CRASH}"),
        ("/crash?signal=SIGXCPU", "exited with SIGXCPU (somebody has sent it)"),
    ],
)
def test_other_ends_of_a_worker(server: Launch, path: str, said: str) -> None:
    with server(WEB_CONCURRENCY=1) as one:
        end(one.serving(), path)
        one.wait_log(said)
        one.wait_log(SERVING)


@pytest.fixture
def memory() -> Iterator[Path]:
    """A cgroup of its own with 120 MiB of memory."""
    version_1, root = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    parent, limit = (version_1, "memory.limit_in_bytes") if version_1.is_dir() else (root, "memory.max")
    directory = parent / f"hypercorn-image-test-{os.getpid()}"
    try:
        directory.mkdir()
        (directory / limit).write_text(str(120 * 2**20))
        with suppress(OSError):
            (directory / "memory.swap.max").write_text("0")
    except OSError as error:
        with suppress(OSError):
            directory.rmdir()
        pytest.skip(f"no cgroup can be made here: {error}")
    yield directory
    wait_for(lambda: _is_removed(directory), "end of the processes in the cgroup")


def _is_removed(directory: Path) -> bool:
    with suppress(OSError):  # a process that was killed is in it until it is reaped
        directory.rmdir()
        return True
    return False


def test_an_oom_kill_is_told_from_another_one(python: str, tmp_path: Path, memory: Path) -> None:
    enter = ["sh", "-c", f'echo $$ > {memory}/cgroup.procs && exec "$@"', "sh"]
    command = [*enter, python, str(RUNTIME / "opt/hypercorn/serve.py")]
    with launch(python, tmp_path / "app", command=command, environ={"WEB_CONCURRENCY": "1"}) as one:
        for count in (1, 2):
            os.kill(one.serving().children()[0], signal.SIGKILL)
            one.wait_log(SENT, count)
            one.wait_log(") started", 2 * count - 1)
            end(one, f"/?size={400 * 2**20}")
            one.wait_log(OUT_OF_MEMORY, count)
            one.wait_log(") started", 2 * count)
        assert one.get()


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({"sys/fs/cgroup/memory.events": "low 0\noom 3\noom_kill 2\noom_group_kill 0\n"}, 2),
        ({"sys/fs/cgroup/a/b/memory.events": "oom_kill 5\n", "proc/self/cgroup": "0::/a/b\n"}, 5),
        ({"sys/fs/cgroup/memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"}, 4),
        (
            {
                "proc/self/cgroup": "4:memory:/docker/x\n0::/\n",
                "sys/fs/cgroup/memory/docker/x/memory.oom_control": "oom_kill 1\n",
                "sys/fs/cgroup/memory/memory.oom_control": "oom_kill 9\n",
            },
            1,
        ),
        ({"sys/fs/cgroup/memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\n"}, None),
        ({}, None),
    ],
)
def test_the_count_of_recorded_cgroups(tmp_path: Path, files: dict[str, str], count: int | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert endings.oom_kills(str(tmp_path)) == count
