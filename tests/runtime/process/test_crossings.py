"""Two things at once, with real processes: a signal while a worker starts, a death in a reload, a fork that fails."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypercorn.config import Config
from hypercorn_image.config.effective import Effective
from hypercorn_image.listen.sockets import Listeners
from hypercorn_image.process import children
from hypercorn_image.process.supervisor import Configuration, Supervisor
from hypercorn_image.process.wanted import WHILE_STARTING, Fork

from tests.runtime.certificates import Authority
from tests.runtime.h3 import connected
from tests.runtime.launching import Launch, every_class, in_flight
from tests.runtime.server import APPLICATIONS, LIMIT, RUNTIME, Server, request, wait_for

SLOW = {"STARTUP_SECONDS": "1"}
"""A start that takes long enough for something to happen in it."""


def answers(one: Server, count: int = 4) -> list[int]:
    return [request(one.address, "/")[0] for _ in range(count)]


def test_a_reload_while_a_crashed_worker_is_replaced(server: Launch) -> None:
    with server(**SLOW) as one:
        one.serving()
        os.kill(one.children()[0], signal.SIGKILL)
        one.wait_events("starting", 3)
        one.kill(signal.SIGHUP)
        one.wait_log("Reload complete")
        one.kill(signal.SIGHUP)
        one.wait_log("Reload complete", 2)
        assert answers(one) == [200] * 4


def test_a_reload_while_a_worker_that_reached_max_requests_is_replaced(server: Launch) -> None:
    with server(WEB_CONCURRENCY=1, MAX_REQUESTS=5, **SLOW) as one:
        one.serving()
        assert answers(one, 5) == [200] * 5
        one.wait_events("starting", 2)
        one.kill(signal.SIGHUP)
        one.wait_log("Reload complete")
        assert answers(one) == [200] * 4


def test_a_worker_dies_while_its_replacement_starts_and_that_one_dies_too(server: Launch) -> None:
    with server(WEB_CONCURRENCY=1, **SLOW) as one:
        one.serving()
        (old,) = one.children()
        one.kill(signal.SIGHUP)
        _, new = one.wait_events("starting", 2)
        os.kill(old, signal.SIGKILL)
        os.kill(new, signal.SIGKILL)
        one.wait_log("Reload failed, keeping current workers")
        one.wait_events("starting", 3)
        one.wait_log("started")
        assert answers(one) == [200] * 4


def test_a_reload_before_all_workers_serve_happens_afterwards(server: Launch) -> None:
    with server(WEB_CONCURRENCY=1, **SLOW) as one:
        one.wait_events("starting", 1)
        one.kill(signal.SIGHUP)
        one.serving()
        one.wait_log("Reload complete")
        assert len(one.events("starting")) == 2


def test_a_second_reload_during_the_first(server: Launch) -> None:
    with server(**SLOW) as one:
        one.serving()
        one.kill(signal.SIGHUP)
        one.wait_events("starting", 3)
        one.kill(signal.SIGHUP)
        one.wait_log("SIGHUP received; restarting", 2)
        one.wait_log("Reload complete")
        assert len(wait_for(lambda: [*one.children()] if len(one.children()) == 2 else None, "two workers")) == 2


def test_a_reload_to_fewer_workers_forgets_a_start_that_was_due(server: Launch, tmp_path: Path) -> None:
    configuration = tmp_path / "conf.py"
    text = "bind = ['127.0.0.1:0']\naccesslog = '-'\nworkers = "
    configuration.write_text(text + "2\n")
    with server(HYPERCORN_CONF=str(configuration)) as one:
        one.serving()
        for count in range(1, 4):  # until the back-off is long
            os.kill(sorted(one.children())[-1], signal.SIGKILL)
            one.wait_log("exited with SIGKILL", count)
            if count < 3:
                one.wait_log("started", count)
        configuration.write_text(text + "1\n")
        one.kill(signal.SIGHUP)
        one.wait_log("Reload complete")
        wait_for(lambda: len(one.children()) == 1, "a single worker")
        with pytest.raises(AssertionError):
            wait_for(lambda: len(one.children()) > 1, "another worker", limit=2.5)


def test_sighup_to_the_process_group_restarts_the_workers_and_loses_nothing(server: Launch) -> None:
    with server() as one:
        one.serving()
        with ThreadPoolExecutor(4) as pool:
            slow = [pool.submit(request, one.address, "/slow?seconds=1") for _ in range(4)]
            one.wait_events("slow", 4)
            os.killpg(one.process.pid, signal.SIGHUP)
            assert [one.result()[0] for one in slow] == [200] * 4
        one.wait_log("Reload complete")


@pytest.mark.parametrize("number", [signal.SIGALRM, signal.SIGPROF, signal.SIGIO, signal.SIGRTMIN + 3])
def test_signals_that_are_not_used_do_no_harm(server: Launch, number: int) -> None:
    with server() as one:
        one.serving()
        os.killpg(one.process.pid, number)
        one.wait_log("received; ignored")
        assert answers(one) == [200] * 4
        assert len(one.events("starting")) == 2
        assert one.stop() == 0


def test_a_failed_fork_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    config = Config.from_mapping(bind=[], certfile="c", keyfile="k", quic_bind=["127.0.0.1:0"], startup_timeout=1)
    first = Configuration(Effective(config, "", {}, ""), Listeners(config))
    one = Supervisor(first, lambda: first.effective, lambda *_: 0, lambda *_: None, lambda *_: None, lambda: None)
    monkeypatch.setattr(children.os, "fork", fails)
    before = len(list(Path("/proc/self/fd").iterdir()))
    one._fork(Fork(0, first.generation(0)))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_workers_of_a_preloaded_application_leave_its_finalizers_to_the_parent(server: Launch, tmp_path: Path) -> None:
    (tmp_path / "preloaded.py").write_text(
        "import atexit, os, tempfile, threading\n"
        "DIRECTORY = tempfile.TemporaryDirectory()\n"
        "threading.Thread(target=threading.Event().wait, daemon=True, name='heartbeat').start()\n"
        "def note():\n"
        "    with open(os.environ['EVENTS'], 'a') as file:\n"
        "        file.write(f'handler {os.getpid()}\\n')\n"
        "atexit.register(note)\n" + (APPLICATIONS / "main.py").read_text()
    )
    found = {"MODULE_NAME": "preloaded", "PYTHONPATH": f"{tmp_path}:{APPLICATIONS}", "TMPDIR": str(tmp_path)}
    with server(PRELOAD_APP="true", WEB_CONCURRENCY=1, **found) as one:
        one.serving()
        assert "started threads (heartbeat)" in one.log
        (directory,) = tmp_path.glob("tmp*")
        (old,) = one.children()
        os.kill(old, signal.SIGTERM)
        one.wait_log("replaces worker")
        wait_for(lambda: old not in one.children(), "its end")
        assert directory.is_dir()
        assert one.stop() == 0
        assert one.events("handler") == [one.process.pid]
        assert not directory.exists()


def test_a_leaving_http_3_worker_that_dies_leaves_no_socket_unread(server: Launch, tmp_path: Path) -> None:
    with server(QUIC_BIND="127.0.0.1:0", WEB_CONCURRENCY=1, **Authority(tmp_path).tls(), **SLOW) as one:
        one.serving()
        address = ("127.0.0.1", int(next(url for url in one.urls()[::-1] if "https" in url).rpartition(":")[2]))
        (old,) = one.children()
        os.kill(old, signal.SIGTERM)
        one.wait_events("starting", 2)
        os.kill(old, signal.SIGKILL)
        one.wait_log("started")

        async def ask() -> int:
            async with connected(address) as session:
                return int((await session.get())[0])

        for _ in range(4):
            assert asyncio.run(asyncio.wait_for(ask(), LIMIT)) == 200


def hanging(tmp_path: Path) -> dict[str, str]:
    """Return settings of an application whose import hangs while the file `hang` is there, and short limits for it."""
    directory = tmp_path / "app"
    directory.mkdir()
    flag = str(tmp_path / "hang")
    (directory / "hangs.py").write_text(
        f"import os, time\nfrom main import app\nwhile os.path.exists({flag!r}):\n    time.sleep(0.1)\n"
    )
    (directory / "sitecustomize.py").write_text(
        f"import sys\nsys.path.append({str(RUNTIME / 'opt/hypercorn')!r})\n"
        "from hypercorn_image.process import wanted\nwanted.SAID_AFTER, wanted.AT_LEAST, wanted.SLOWER = 0.5, 3.0, 0\n"
    )
    return {"MODULE_NAME": "hangs", "STARTUP_TIMEOUT": "1"}


def test_a_first_start_that_hangs_is_said_and_a_stop_ends_it(server: Launch, tmp_path: Path) -> None:
    (tmp_path / "hang").touch()
    with server(**hanging(tmp_path)) as one:
        one.wait_log("is still starting after 0.5 s", 2)
        assert one.stop() == 0
        assert "Serving " not in one.log


def test_a_reload_that_hangs_is_said_and_given_up_and_the_workers_serve_on(server: Launch, tmp_path: Path) -> None:
    with server(**hanging(tmp_path)) as one:
        one.serving()
        before = set(one.children())
        (tmp_path / "hang").touch()
        one.kill(signal.SIGHUP)
        one.wait_log("is still starting after 0.5 s")
        assert answers(one) == [200] * 4
        one.wait_log("Reload failed, keeping current workers: it did not start within 4 s")
        assert answers(one) == [200] * 4
        assert before <= set(one.children())
        assert one.stop() == 0


OPENS_SLOWLY = f"""
import os, sys
sys.path.append({str(RUNTIME / "opt/hypercorn")!r})
from hypercorn_image.worker import serving
trigger = serving.Serving.trigger
async def held(self):
    while os.path.exists(os.environ["EVENTS"] + ".hold"):
        await self.sleep(0.01)
    await trigger(self)
serving.Serving.trigger = held
"""
"""A worker that accepts connections and has not said yet that it serves, as one with many sockets when it is busy."""


@every_class
def test_a_reload_while_a_worker_opens_its_sockets_cuts_no_request_of_it(
    server: Launch, worker_class: str, tmp_path: Path
) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/sitecustomize.py").write_text(OPENS_SLOWLY)
    with server(WEB_CONCURRENCY=1, WORKER_CLASS=worker_class) as one, ThreadPoolExecutor(64) as pool:
        one.serving()
        (old,) = one.children()
        hold = one.directory / "events.hold"
        hold.touch()
        one.kill(signal.SIGHUP)
        one.wait_events("startup", 2)
        futures = in_flight(pool, one, 1)
        while set(one.events("slow")) == {old}:
            futures += in_flight(pool, one, 1)
        one.kill(signal.SIGHUP)
        one.wait_log("SIGHUP received", 2)
        time.sleep(2 * WHILE_STARTING)  # what a worker gets that has no requests yet
        hold.unlink()
        one.release()
        assert {future.result()[0] for future in futures} == {200}
