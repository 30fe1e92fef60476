"""A stop at any moment of a container's first second, on one image of each OS. docs/stopping.md has the figures.

10 stops of each case; with FULL=1 200, on an idle machine and beside four busy processes. `-rP` prints the figures.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from imagematrix.matrix.model import Variant
from tests.images.choice import FULL
from tests.images.container import Container, Runner, wait_for

STOPS = 200 if FULL else 10
SECONDS = 1.0 if FULL else 0.4  # after the start of a container
PRESTART = {"/app/prestart.sh": "sleep 0.3\nexport MARKER=1\nsleep 0.1\n"}
# What is started, and with which files.
CASES: dict[str, tuple[list[str] | None, dict[str, str]]] = {
    "start.sh": (None, {}),
    "prestart": (None, PRESTART),
    "start-reload.sh": (["/start-reload.sh"], {}),
}


pytestmark = pytest.mark.images("hypercorn", one_per="os")


@contextmanager
def spinning(count: int) -> Iterator[None]:
    """Have `count` processes that never wait."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def is_the_images_own(container: Container) -> bool:
    """Say whether PID 1 is a program of the image, and no longer runc, which loses signals: docs/stopping.md."""
    container.docker.reload()
    try:
        return not Path(f"/proc/{container.docker.attrs['State']['Pid']}/comm").read_text().startswith("runc:")
    except OSError:  # it has ended, or the engine runs on another machine
        return True


@pytest.mark.parametrize("busy", [0, 4] if FULL else [0], ids="{} busy".format)
@pytest.mark.parametrize("case", CASES)
def test_a_stop_at_any_moment_of_the_first_second_is_heard(run: Runner, variant: Variant, busy: int, case: str) -> None:
    command, files = CASES[case]

    def stop(moment: float, signal: str) -> tuple[int, float]:
        with run(variant.references[0], command, files=files, publish=()) as container:
            time.sleep(moment)  # the moment is what is tested
            wait_for(lambda: is_the_images_own(container), "program of the image in place of runc", container.logs)
            begun = time.monotonic()
            container.docker.kill(signal)
            return container.wait(), time.monotonic() - begun

    moments = [random.uniform(0, SECONDS) for _ in range(STOPS)]
    with spinning(busy), ThreadPoolExecutor(1 if FULL else 4) as pool:
        ends = list(pool.map(stop, moments, cycle(("SIGTERM", "SIGINT"))))
    seconds = [seconds for _, seconds in ends]
    late = sum(one > 1 for one in seconds)
    print(f"{variant.name} {case}, {busy} busy: {STOPS} stops, slowest {max(seconds):.2f} s, {late} over 1 s")
    assert [status for status, _ in ends] == [0] * STOPS, list(zip(moments, ends, strict=True))


@contextmanager
def terminal(run: Runner, image: str, prestart: str) -> Iterator[tuple[Container, Any]]:
    """Start a container as `docker run -it` does; give it and the terminal's other side."""
    files = {"/app/prestart.sh": prestart} if prestart else {}
    with run(image, files=files, publish=(), tty=True, stdin_open=True) as container:
        keyboard = container.docker.attach_socket(params={"stdin": 1, "stream": 1})
        try:
            yield container, keyboard._sock
        finally:
            keyboard.close()


@pytest.mark.parametrize("prestart", ["", "echo Serving soon\nsleep 60\n"], ids=["server", "prestart"])
def test_ctrl_c_in_a_terminal(run: Runner, image: str, prestart: str) -> None:
    with terminal(run, image, prestart) as (container, keyboard):
        wait_for(lambda: "Serving" in container.logs(), "begin", container.logs)
        keyboard.sendall(b"\x03")
        assert container.wait() == 0


def test_a_prestart_script_reads_the_terminal(run: Runner, image: str) -> None:
    script = 'echo "your name?"\nread -r name\necho "hello $name"\n'
    with terminal(run, image, script) as (container, keyboard):
        wait_for(lambda: "your name?" in container.logs(), "question", container.logs)
        keyboard.sendall(b"me\n")
        wait_for(lambda: "hello me" in container.logs(), "answer", container.logs)
        wait_for(lambda: "Serving" in container.logs(), "start", container.logs)
        assert container.stop() == 0


@pytest.mark.parametrize("command", [["sh"], ["/start.sh"], []], ids=["a command", "start.sh", "no command"])
def test_only_what_serves_is_started_with_blocked_signals(run: Runner, image: str, command: list[str]) -> None:
    with run(image, command, publish=(), stdin_open=True) as container:
        if command != ["sh"]:
            wait_for(lambda: "Serving" in container.logs(), "start", container.logs)
        wait_for(lambda: "block" not in container.run("cat", "/proc/1/comm"), "command", container.logs)
        wait_for(lambda: "SigBlk:\t0000000000000000" in container.run("cat", "/proc/1/status"), "no blocked signal")


def test_a_command_that_is_not_there(run: Runner, image: str) -> None:
    with run(image, ["no-such-command"], publish=()) as container:
        assert container.wait() == 127
        assert "no-such-command" in container.logs()
