"""The signals that gunicorn's operators know, sent to a server with real workers."""

from __future__ import annotations

import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.runtime.certificates import Authority
from tests.runtime.launching import Launch, every_class, in_flight
from tests.runtime.load import Load
from tests.runtime.server import APPLICATIONS, Server, wait_for


def workers(one: Server, count: int) -> list[int]:
    return list(wait_for(lambda: found if len(found := one.children()) == count else None, f"{count} workers"))


def test_ttin_and_ttou_add_and_remove_a_worker_and_lose_no_request(server: Launch) -> None:
    with server(WEB_CONCURRENCY=2) as one:
        one.serving()
        with Load(one.address) as load:
            one.kill(signal.SIGTTIN)
            one.wait_log("SIGTTIN received; workers: 3")
            one.wait_log("started")
            assert len(workers(one, 3)) == 3
            for left in (2, 1, 1):
                one.kill(signal.SIGTTOU)
                workers(one, left)
            one.wait_log("SIGTTOU received; workers: 1", 2)
            load.finish()
        assert (load.lost, load.failures) == (0, [])
        one.kill(signal.SIGHUP)
        one.wait_log("Reload complete")
        assert len(workers(one, 2)) == 2, "SIGHUP goes back to what is configured"
        assert one.stop() == 0


def test_a_worker_that_ttin_has_added_is_replaced_when_it_dies(server: Launch) -> None:
    with server(WEB_CONCURRENCY=1) as one:
        one.serving()
        (first,) = one.children()
        one.kill(signal.SIGTTIN)
        one.wait_log("started")
        (added,) = (pid for pid in workers(one, 2) if pid != first)
        os.kill(added, signal.SIGKILL)
        one.wait_log("started", 2)
        assert len(workers(one, 2)) == 2


def test_with_quic_the_number_of_workers_stays(server: Launch, tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path).issue()
    found = {"USE_SSL": "true", "USE_TCP": "false", "SSL_PORT": "0", "CERTFILE": certificate, "KEYFILE": key}
    with server(QUIC_BIND="127.0.0.1:0", **found) as one:
        one.serving()
        one.kill(signal.SIGTTOU)
        one.wait_log("SIGTTOU received; with QUIC_BIND")
        assert len(one.children()) == 2


@every_class
@pytest.mark.parametrize("concurrency", [0, 2])
@pytest.mark.parametrize("first", [signal.SIGQUIT, signal.SIGTERM], ids=["alone", "after SIGTERM"])
def test_quit_stops_at_once(server: Launch, worker_class: str, concurrency: int, first: signal.Signals) -> None:
    with server(WORKER_CLASS=worker_class, WEB_CONCURRENCY=concurrency, GRACEFUL_TIMEOUT=300) as one:
        one.serving()
        with ThreadPoolExecutor(4) as pool:
            futures = in_flight(pool, one, 4)
            one.kill(first)
            if concurrency and first is signal.SIGTERM:
                one.wait_log("SIGTERM received; stopping")
            one.kill(signal.SIGQUIT)
            assert one.wait() == 0, "long before the requests or the graceful timeout would have ended"
            assert all(future.exception() is not None or future.result()[0] >= 500 for future in futures)
        assert "killing" not in one.log
        assert "Traceback" not in one.log
        assert one.events("shutdown"), "the lifespan is shut down"


def test_quit_kills_a_worker_that_hangs(server: Launch) -> None:
    with server(VARIABLE_NAME="hang", WEB_CONCURRENCY=1, GRACEFUL_TIMEOUT=300) as one:
        one.serving()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(one.get)
            one.wait_events("hanging", 1)
            assert one.stop(signal.SIGQUIT) == 0


def test_a_signal_at_the_very_end_of_a_worker_writes_no_traceback(server: Launch, tmp_path: Path) -> None:
    (tmp_path / "signalled.py").write_text(
        "import asyncio, os, signal\nimport main\n"
        "async def app(scope, receive, send):\n"
        "    await main.app(scope, receive, send)\n"
        "    if scope['type'] == 'lifespan':\n"
        "        loop = asyncio.get_running_loop()\n"
        "        close = loop._close_self_pipe\n"
        "        def close_and_signal():\n"
        "            close()\n"
        "            os.kill(os.getpid(), signal.SIGTERM)\n"
        "            main.note('signalled')\n"
        "        loop._close_self_pipe = close_and_signal\n"
    )
    path = f"{tmp_path}:{APPLICATIONS}"
    with server(MODULE_NAME="signalled", WEB_CONCURRENCY=1, WORKER_CLASS="asyncio", PYTHONPATH=path) as one:
        one.serving()
        assert one.stop() == 0
        assert one.events("signalled")
        assert "Traceback" not in one.log


@pytest.mark.parametrize("concurrency", [0, 2])
def test_usr1_opens_logs_again_that_were_moved_away(server: Launch, tmp_path: Path, concurrency: int) -> None:
    access, error = tmp_path / "access.log", tmp_path / "error.log"
    (tmp_path / "chatty.py").write_text(
        "import logging, os\n"
        "from main import app as inner\n"
        f"logging.getLogger('mine').addHandler(logging.FileHandler({str(tmp_path / 'mine.log')!r}))\n"
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'http':\n"
        "        logging.getLogger('mine').warning('asked %s', scope['path'])\n"
        "    await inner(scope, receive, send)\n"
    )
    path = f"{tmp_path}:{tmp_path / 'app'}"
    found = {"ACCESS_LOG": access, "ERROR_LOG": error, "MODULE_NAME": "chatty", "PYTHONPATH": path}
    with server(WEB_CONCURRENCY=concurrency, TCP_PORT=0, **found) as one:
        serving = wait_for(
            lambda: re.search(r"127\.0\.0\.1:(\d+)", error.read_text() if error.exists() else ""), "port"
        )
        address = ("127.0.0.1", int(serving[1]))
        one.get("/before", address)
        wait_for(lambda: "/before" in access.read_text(), "line")
        for file in (access, error, tmp_path / "mine.log"):
            file.rename(file.with_suffix(".1"))
        one.kill(signal.SIGUSR1)
        wait_for(lambda: error.exists() and "log files reopened" in error.read_text(), "line")
        wait_for(access.exists, "the new log")
        for number in range(40):  # whichever worker it is
            one.get(f"/after{number}", address)
        wait_for(lambda: access.read_text().count("/after") == 40, "40 lines")
        assert (tmp_path / "mine.log").read_text().count("asked /after") == 40
        assert "/after" not in access.with_suffix(".1").read_text()
        assert one.stop() == 0
        assert "Stopped" in error.read_text() or not concurrency


def test_usr1_says_which_log_cannot_be_opened_again_and_goes_on(server: Launch, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    with server(ACCESS_LOG=logs / "access.log") as one:
        one.serving()
        logs.rename(tmp_path / "moved")
        one.kill(signal.SIGUSR1)
        one.wait_log("access.log cannot be reopened: No such file or directory")
        one.get("/after")
        wait_for(lambda: "/after" in (tmp_path / "moved" / "access.log").read_text(), "line")


def test_usr2_writes_the_status_to_the_log(server: Launch) -> None:
    with server() as one:
        one.serving()
        pids = one.children()
        one.kill(signal.SIGUSR2)
        one.wait_log("SIGUSR2 received; 2 of 2 workers serve, configuration 0")
        for pid in pids:
            line = one.wait_log(f"Worker (pid {pid}): serving, configuration 0, up ")
            found = re.search(rf"pid {pid}\): serving, configuration 0, up (\d+) s, (\d+) MiB", line)
            assert found
            assert 5 < int(found[2]) < 1000


def test_usr2_without_workers(server: Launch) -> None:
    with server(WEB_CONCURRENCY=0) as one, ThreadPoolExecutor(2) as pool:
        one.serving()
        futures = in_flight(pool, one, 2)
        one.kill(signal.SIGUSR2)
        one.wait_log("SIGUSR2 received; requests in progress: 2")
        one.kill(signal.SIGTTIN)
        one.wait_log("SIGTTIN received; WEB_CONCURRENCY=0 has no worker processes")
        one.release()
        assert [future.result()[0] for future in futures] == [200, 200]


def test_signals_of_every_kind_under_load_lose_no_request(server: Launch) -> None:
    with server(WEB_CONCURRENCY=2, ACCESS_LOG="") as one:
        one.serving()
        with Load(one.address, keep_alive=True) as load:
            for number in (
                signal.SIGTTIN,
                signal.SIGUSR1,
                signal.SIGTTOU,
                signal.SIGUSR2,
                signal.SIGRTMIN,
                signal.SIGHUP,
            ):
                one.kill(number)
                goal = load.counts["answered"] + 50
                wait_for(lambda goal=goal: load.counts["answered"] > goal, "answers")
            one.wait_log("Reload complete")
            load.finish()
        assert (load.lost, load.failures) == (0, [])
