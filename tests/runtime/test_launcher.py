"""The launcher with real processes, sockets and clients: what CONTRACT.md says of living and stopping."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.runtime.launching import Launch, every_class, in_flight
from tests.runtime.load import Load
from tests.runtime.server import RUNTIME, Server, connect, launch, request, response, wait_for


@pytest.mark.every_python
@every_class
@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_loses_no_request(server: Launch, worker_class: str, workers: int) -> None:
    with server(WORKER_CLASS=worker_class, WEB_CONCURRENCY=workers) as one, ThreadPoolExecutor(6) as pool:
        one.serving()
        futures = in_flight(pool, one, 6, 1)
        assert one.stop() == 0, one.log
        assert [future.result()[0] for future in futures] == [200] * 6, one.log
        assert sorted(one.events("shutdown")) == sorted(one.events("startup"))
        assert len(one.events("startup")) == workers
        assert "Traceback" not in one.log


@every_class
@pytest.mark.parametrize("keep_alive", [False, True], ids=["new-connections", "keep-alive"])
@pytest.mark.parametrize("workers", [1, 2, 8, 0])
def test_sigterm_under_load_loses_no_request(
    server: Launch, worker_class: str, keep_alive: bool, workers: int, unprivileged: None
) -> None:
    with server(WORKER_CLASS=worker_class, WEB_CONCURRENCY=workers) as one:
        one.serving()
        with Load(one.address, keep_alive=keep_alive) as load:
            wait_for(lambda: load.counts["answered"] > 50, "load")
            assert one.stop() == 0, one.log
        assert load.lost == 0, (load.counts, load.failures[:5], one.log[-2000:])
        assert "Traceback" not in one.log


@every_class
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_process_group_twice_loses_no_request(
    server: Launch, worker_class: str, number: signal.Signals
) -> None:
    with server(WORKER_CLASS=worker_class) as one, ThreadPoolExecutor(4) as pool:
        one.serving()
        futures = in_flight(pool, one, 4, 1)
        os.killpg(one.process.pid, number)
        one.wait_log("; stopping")
        os.killpg(one.process.pid, number)
        assert one.wait() == 0
        assert [future.result()[0] for future in futures] == [200] * 4, one.log
        assert len(one.events("shutdown")) == 2
        assert one.log.count("; stopping") == 1
        assert "Traceback" not in one.log


@every_class
def test_idle_connections_are_closed_at_once(server: Launch, worker_class: str) -> None:
    with server(WORKER_CLASS=worker_class, KEEP_ALIVE=60) as one, ThreadPoolExecutor(1) as pool:
        one.serving()
        idle = connect(one.address)
        request(one.address, sock=idle, close=False)
        silent = connect(one.address)  # has never said anything
        (busy,) = in_flight(pool, one, 1)
        one.kill(signal.SIGTERM)
        assert idle.recv(1) == b""
        assert silent.recv(1) == b""
        assert not busy.done()
        one.release()
        assert one.wait() == 0
        assert busy.result()[0] == 200


@every_class
@pytest.mark.every_python
@pytest.mark.parametrize("workers", [0, 1])
def test_the_graceful_timeout_ends_what_does_not_end(server: Launch, worker_class: str, workers: int) -> None:
    with server(WORKER_CLASS=worker_class, WEB_CONCURRENCY=workers, GRACEFUL_TIMEOUT=1) as one:
        one.serving()
        with ThreadPoolExecutor(1) as pool:
            (stuck,) = in_flight(pool, one, 1)
            begun = time.monotonic()
            assert one.stop() == 0, one.log
            assert time.monotonic() - begun >= 1, one.log
            assert stuck.exception() is not None or stuck.result()[0] == 500, "cut"
        assert len(one.events("shutdown")) == 1, "the lifespan's shutdown runs all the same"


@every_class
def test_a_worker_that_hangs_is_killed_in_time(server: Launch, worker_class: str) -> None:
    with server(APP_MODULE="main:hang", WORKER_CLASS=worker_class, GRACEFUL_TIMEOUT=0.5, WEB_CONCURRENCY=1) as one:
        one.serving()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(request, one.address, "/")
            one.wait_events("hanging", 1)
            assert one.stop() == 0


@pytest.mark.parametrize("when", ["imported", "starting"])
@every_class
def test_sigterm_while_starting_stops_at_once(server: Launch, worker_class: str, when: str, python: str) -> None:
    with server(WORKER_CLASS=worker_class, STARTUP_SECONDS=600, IMPORT_SECONDS=600 if when == "imported" else 0) as one:
        one.wait_events(when, 2)
        assert one.stop() == 0, one.log
        assert "Traceback" not in one.log
        assert "error" not in one.log


@every_class
@pytest.mark.every_python
def test_a_worker_that_dies_is_replaced(server: Launch, worker_class: str) -> None:
    """FastAPI is imported before the fork, on the Pythons that have it."""
    with server(WORKER_CLASS=worker_class, PRELOAD_PACKAGES="(unset)") as one:
        one.serving()
        before = one.children()
        assert len(before) == 2
        with pytest.raises((EOFError, OSError)):
            request(one.address, "/crash")
        one.wait_events("startup", 3)
        one.wait_log("exited with SIGKILL")
        wait_for(lambda: len(one.children()) == 2, "two workers")
        assert one.get()["pid"] in one.children()
        assert one.stop() == 0


def test_a_worker_that_ends_with_status_0_is_replaced_too(server: Launch) -> None:
    with server(WEB_CONCURRENCY=1) as one:
        one.serving()
        with pytest.raises((EOFError, OSError)):
            request(one.address, "/exit")
        one.wait_log("exited with status 0")
        assert one.get()["pid"] in one.children()


def test_a_worker_that_keeps_dying_is_replaced_less_and_less_often(server: Launch) -> None:
    with server(WEB_CONCURRENCY=1) as one:
        one.serving()
        for delay in ("serving; restarting\n", "restarting in 0.5 s", "restarting in 1 s"):
            with pytest.raises((EOFError, OSError)):
                request(one.address, "/crash")
            one.wait_log(delay)
        assert one.get()


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"MODULE_NAME": "absent"}, "no module 'absent' for the application 'absent:app'"),
        ({"VARIABLE_NAME": "absent"}, "no 'absent' in the module 'main'"),
        ({"VARIABLE_NAME": "not_an_application"}, "'main:not_an_application' is int, not an application"),
        ({"LIFESPAN": "fail"}, "the application's lifespan failed to start: the database is away"),
        ({"STARTUP_SECONDS": "60", "STARTUP_TIMEOUT": "0.2"}, "did not start within 0.2 s (STARTUP_TIMEOUT)"),
        ({"HOST": "192.0.2.1"}, "cannot listen on 192.0.2.1:0: Cannot assign requested address"),
    ],
)
@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_cannot_start_ends_with_one_clear_line(
    server: Launch, environ: dict[str, str], said: str, workers: str
) -> None:
    with server(**{"WEB_CONCURRENCY": workers, "GRACEFUL_TIMEOUT": 60, **environ}) as one:
        assert one.wait() == 1, one.log
        errors = [line for line in one.log.splitlines() if "error:" in line]
        assert len(errors) == 1, one.log
        assert said in errors[0]
        assert "Traceback" not in one.log


@every_class
@pytest.mark.parametrize("workers", ["0", "2"])
def test_an_exception_in_the_lifespans_start_is_a_failed_start(server: Launch, worker_class: str, workers: str) -> None:
    with server(WORKER_CLASS=worker_class, WEB_CONCURRENCY=workers, LIFESPAN="raise") as one:
        assert one.wait() == 1, one.log
        said = "hypercorn-image: error: the application's lifespan failed to start: RuntimeError: the database is away"
        assert said in one.log.splitlines()
        assert "raise RuntimeError" in one.log, "with the place in the application"
        assert "lifespan.py" not in one.log, "and nothing of ours"


@every_class
@pytest.mark.every_python
def test_a_fault_of_the_application_is_shown_with_its_own_traceback(
    server: Launch, worker_class: str, tmp_path: Path
) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "broken.py").write_text("import os\n\n\ndef fail():\n    return 1 / 0\n\n\nfail()\n")
    with server(WORKER_CLASS=worker_class, MODULE_NAME="broken") as one:
        assert one.wait() == 1
        assert one.log.count("Traceback") == 1, "said once, not by each worker"
        assert "hypercorn_image" not in one.log, "the application's own frames"
        assert "return 1 / 0" in one.log
        assert "error: the application 'broken:app' cannot be imported: ZeroDivisionError: division by zero" in one.log


def test_a_missing_package_of_the_application_is_its_own_fault(server: Launch, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "needs.py").write_text("import a_package_that_is_not_there\n")
    with server(MODULE_NAME="needs") as one:
        assert one.wait() == 1
        assert "needs.py" in one.log
        assert "ModuleNotFoundError: No module named 'a_package_that_is_not_there'" in one.log


def test_a_taken_port(server: Launch) -> None:
    with server() as first:
        port = first.serving().address[1]
        other = launch(str(first.process.args[0]), first.directory.parent / "other", environ={"TCP_PORT": str(port)})  # type: ignore[index]
        with other as second:
            assert second.wait() == 1
            assert f"error: cannot listen on 127.0.0.1:{port}: Address already in use" in second.log


@every_class
@pytest.mark.every_python
def test_sighup_replaces_the_workers_and_refuses_nobody(server: Launch, worker_class: str) -> None:
    with server(WORKER_CLASS=worker_class) as one:
        one.serving()
        old = set(one.children())
        with Load(one.address) as fresh, Load(one.address, keep_alive=True) as kept:
            for count in (1, 2):
                one.kill(signal.SIGHUP)
                one.wait_log("Reload complete", count)
        for load in (fresh, kept):
            assert load.lost == 0, (load.counts, load.failures[:5])
            assert load.counts["refused"] == 0
            assert load.counts["answered"] > 0
        wait_for(lambda: len(one.children()) == 2, "the end of the old workers", lambda: one.log)
        assert not old & set(one.children())
        assert one.stop() == 0
        assert len(one.events("shutdown")) == 6
        assert "Traceback" not in one.log


def test_sighup_reads_the_configuration_again(server: Launch, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    conf = tmp_path / "app" / "conf.py"
    conf.write_text("from hypercorn_conf import *\nroot_path = '/one'\nworkers = 1\n")
    with server(HYPERCORN_CONF=conf) as one:
        one.serving()
        assert one.get("/one/")["root_path"] == "/one"
        conf.write_text("from hypercorn_conf import *\nroot_path = '/two'\nworkers = 3\n")
        one.kill(signal.SIGHUP)
        one.wait_log("Reload complete")
        assert one.get("/two/")["root_path"] == "/two"
        wait_for(lambda: len(one.children()) == 3, "three workers")
        conf.write_text("from hypercorn_conf import *\nworkers = 1\nbind = ['127.0.0.1:0', '127.0.0.1:00']\n")
        one.kill(signal.SIGHUP)
        one.wait_log("Reload complete", 2)
        wait_for(lambda: len(one.children()) == 1, "one worker", lambda: one.log)
        assert len(one.addresses()) == 2
        assert all(one.get("/", address)["pid"] in one.children() for address in one.addresses())
        conf.write_text("this is not Python\n")
        one.kill(signal.SIGHUP)
        one.wait_log("Reload failed, keeping current workers: ")
        assert one.get()


def test_sighup_with_an_application_that_no_longer_starts_keeps_the_old_workers(server: Launch) -> None:
    with server() as one:
        one.serving()
        old = set(one.children())
        (one.directory / "events.fail-lifespan").touch()
        one.kill(signal.SIGHUP)
        one.wait_log("Reload failed, keeping current workers: the application's lifespan failed to start: told so")
        assert set(one.children()) == old
        assert one.get()["pid"] in old
        (one.directory / "events.fail-lifespan").unlink()
        one.kill(signal.SIGHUP)
        one.wait_log("Reload complete")
        assert one.stop() == 0


@every_class
@pytest.mark.every_python
def test_max_requests_recycles_workers_without_a_lost_request(server: Launch, worker_class: str) -> None:
    with server(WORKER_CLASS=worker_class, MAX_REQUESTS=100, MAX_REQUESTS_JITTER=20) as one:
        one.serving()
        with Load(one.address) as fresh, Load(one.address, keep_alive=True) as kept:
            one.wait_log("replaces worker (pid", 3)
        for load in (fresh, kept):
            assert load.lost == 0, (load.counts, load.failures[:5])
            assert load.counts["refused"] == 0
        assert one.stop() == 0
        assert "Traceback" not in one.log


@every_class
@pytest.mark.every_python
def test_web_concurrency_0_serves_in_the_one_process(server: Launch, worker_class: str) -> None:
    with server(WORKER_CLASS=worker_class, WEB_CONCURRENCY=0) as one:
        one.serving()
        assert one.get()["pid"] == one.process.pid
        assert one.children() == []
        one.kill(signal.SIGHUP)
        one.wait_log("SIGHUP received; WEB_CONCURRENCY=0 has no worker processes")
        with ThreadPoolExecutor(2) as pool:
            futures = in_flight(pool, one, 2, 0.5)
            assert one.stop() == 0
            assert [future.result()[0] for future in futures] == [200] * 2
        assert len(one.events("shutdown")) == 1


@pytest.mark.parametrize("preload", [True, False])
def test_preload_app_imports_once(server: Launch, preload: bool) -> None:
    with server(WEB_CONCURRENCY=3, **({"PRELOAD_APP": "true"} if preload else {})) as one:
        one.serving()
        imported = one.events("imported")
        assert imported == [one.process.pid] if preload else sorted(imported) == sorted(one.children())
        assert one.get()["parent"] == one.process.pid
        assert one.stop() == 0


def test_a_killed_parent_takes_its_workers_along(server: Launch) -> None:
    with server() as one:
        one.serving()
        workers = one.children()
        one.process.kill()
        one.wait()
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "end of the workers")


def test_a_sigterm_to_one_worker_replaces_it(server: Launch) -> None:
    with server(WEB_CONCURRENCY=1) as one, ThreadPoolExecutor(2) as pool:
        one.serving()
        (worker,) = one.children()
        futures = in_flight(pool, one, 2, 1)
        os.kill(worker, signal.SIGTERM)
        one.wait_log(f"replaces worker (pid {worker})")
        assert [future.result()[0] for future in futures] == [200] * 2
        assert one.get()["pid"] != worker


@every_class
@pytest.mark.parametrize("variable", ["Asgi2", "asgi2_function", "wsgi"])
@pytest.mark.parametrize("workers", [0, 1])
def test_other_kinds_of_application(server: Launch, worker_class: str, variable: str, workers: int) -> None:
    with server(WORKER_CLASS=worker_class, VARIABLE_NAME=variable, WEB_CONCURRENCY=workers) as one:
        one.serving()
        assert one.get()["pid"]
        if variable == "wsgi":
            assert request(one.address, "/empty")[0] == 204
        with ThreadPoolExecutor(4) as pool:
            futures = in_flight(pool, one, 4)
            assert one.get()["pid"], "the loop is not blocked"
            assert not any(future.done() for future in futures)
            one.kill(signal.SIGTERM)
            one.release()
            assert one.wait() == 0
            assert [future.result()[0] for future in futures] == [200] * 4
        assert "Traceback" not in one.log


def test_the_lifespans_state_reaches_the_requests(server: Launch) -> None:
    with server() as one:
        assert one.serving().get()["state"] == "from the lifespan"


@every_class
def test_json_logs(server: Launch, worker_class: str) -> None:
    import json

    with server(WORKER_CLASS=worker_class, LOG_FORMAT="json", ACCESS_LOG_SKIP="/quiet,/silent") as one:
        one.serving()
        request(one.address, "/loud?a=b")
        request(one.address, "/quiet")
        one.wait_log("/loud")
        assert one.stop() == 0
        lines = [json.loads(line) for line in one.log.splitlines()]
        (access,) = (line for line in lines if line["logger"] == "hypercorn.access")
        assert (access["method"], access["path"], access["query"], access["status"]) == ("GET", "/loud", "a=b", 200)
        assert [line["message"].split()[0] for line in lines if line["logger"] == "hypercorn.error"] == [
            "Serving",
            "SIGTERM",
            "Stopped",
        ]
        assert {line["level"] for line in lines} == {"info"}


def test_an_access_log_that_is_empty_or_a_file(server: Launch, tmp_path: Path) -> None:
    with server(ACCESS_LOG="", ERROR_LOG=tmp_path / "errors") as one:
        wait_for(lambda: (tmp_path / "errors").exists() and "Serving" in (tmp_path / "errors").read_text(), "start")
        port = int((tmp_path / "errors").read_text().split("127.0.0.1:")[1].split(",")[0])
        assert request(("127.0.0.1", port))[0] == 200
        assert one.stop() == 0
        assert one.log == ""


def test_unix_sockets(server: Launch, tmp_path: Path) -> None:
    path = tmp_path / "a socket"
    with server(BIND=f"unix:{path},127.0.0.1:0", SOCKET_UMASK="077") as one:
        one.serving()
        assert path.stat().st_mode & 0o777 == 0o700
        assert request(str(path))[0] == 200
        one.kill(signal.SIGHUP)
        one.wait_log("Reload complete")
        assert request(str(path))[0] == 200
        assert one.stop() == 0
        assert not path.exists()


def test_server_arguments(server: Launch) -> None:
    with server("--root-path", "/api", "-w1", "--access-logfile=-") as one:
        one.serving()
        assert one.get("/api/")["root_path"] == "/api"
        assert len(one.children()) == 1


def test_orphans_of_the_application_are_reaped_and_nothing_is_left_a_zombie(python: str, tmp_path: Path) -> None:
    command = [
        "unshare",
        "--fork",
        "--pid",
        "--mount-proc",
        python,
        str(Path(__file__).parents[2] / "runtime/opt/hypercorn/serve.py"),
    ]
    if os.getuid() != 0:
        pytest.skip("being PID 1 in a namespace of its own needs root")
    with launch(python, tmp_path / "app", command=command) as one:
        one.serving()
        (first,) = one.children()
        assert Path(f"/proc/{first}/status").read_text().count("NSpid") == 1
        for _ in range(3):
            request(one.address, "/orphan")

        def processes() -> list[str]:
            states = []
            for pid in Path(f"/proc/{first}/task/{first}/children").read_text().split():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it was reaped since
                    states.append(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
            return states

        wait_for(lambda: len(processes()) == 2, "only the two workers", lambda: str(processes()))
        assert "Z" not in processes()
        os.kill(first, signal.SIGTERM)
        assert one.wait() == 0


def test_a_request_in_the_kernels_queue_is_answered(server: Launch) -> None:
    """The one worker is busy: what waits to be accepted has been accepted by the kernel, and is not reset."""
    with server(APP_MODULE="main:block", WEB_CONCURRENCY=1) as one:
        one.serving()
        first = connect(one.address)
        first.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        one.wait_events("blocking", 1)
        others = [connect(one.address) for _ in range(5)]
        for sock in others:
            sock.sendall(b"GET /quick HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        one.kill(signal.SIGTERM)
        assert [response(sock)[0] for sock in [first, *others]] == [200] * 6
        assert one.wait() == 0


@every_class
def test_a_request_that_crosses_the_stop_is_answered(server: Launch, worker_class: str) -> None:
    with server(WORKER_CLASS=worker_class) as one:
        one.serving()
        fresh, kept = connect(one.address), connect(one.address)
        request(one.address, sock=kept, close=False)
        one.kill(signal.SIGTERM)
        one.wait_log("; stopping")
        for sock in (fresh, kept):
            sock.sendall(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
        for sock in (fresh, kept):
            assert response(sock)[0] == 200
            assert sock.recv(1) == b"", "and then its connection ends"
        assert one.wait() == 0


@every_class
@pytest.mark.parametrize("workers", [0, 2])
def test_a_connection_that_is_half_open_at_the_stop_is_served(
    python: str, tmp_path: Path, worker_class: str, workers: int
) -> None:
    if os.getuid() != 0 or not Path("/dev/net/tun").exists():
        pytest.skip("a slow network is a TUN device, which needs root")
    settings = [f"WORKER_CLASS={worker_class}", f"WEB_CONCURRENCY={workers}"]
    command = ["unshare", "--net", sys.executable, "-m", "tests.runtime.faraway", python, str(tmp_path / "app")]
    done = subprocess.run([*command, *settings], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.stdout == "HTTP/1.1 200  0\n", done.stderr


@every_class
@pytest.mark.parametrize("proxy_protocol", ["false", "true"])
def test_a_worker_without_file_descriptors_says_so_once_and_serves_who_is_connected(
    python: str, tmp_path: Path, worker_class: str, proxy_protocol: str
) -> None:
    few = ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", python, str(RUNTIME / "opt/hypercorn/serve.py")]
    environ = {"WORKER_CLASS": worker_class, "WEB_CONCURRENCY": "1"}
    environ |= {"PROXY_PROTOCOL": proxy_protocol, "FORWARDED_ALLOW_IPS": "192.0.2.1"}
    with launch(python, tmp_path / "app", command=few, environ=environ) as one, contextlib.ExitStack() as stack:
        first = stack.enter_context(connect(one.serving().address))
        assert request(one.address, sock=first, close=False)[0] == 200
        for _ in range(90):
            stack.enter_context(connect(one.address))
        one.wait_log("Too many open files (limit 64)")
        for _ in range(30):
            assert request(one.address, sock=first, close=False)[0] == 200
            time.sleep(0.05)  # the event loop tries again meanwhile
        stack.close()
        wait_for(lambda: _is_served(one), "answer to a new client", lambda: one.log)
        lines = [line for line in one.log.splitlines() if "GET /" not in line]
        assert len(lines) == 2, one.log[:3000]


def _is_served(server: Server) -> bool:
    with contextlib.suppress(OSError, EOFError):  # uvloop resets those that come too early
        return request(server.address)[0] == 200
    return False


def test_a_kernel_that_does_not_steer_quic_is_told_of(python: str, tmp_path: Path) -> None:
    """No kernel here refuses it; the one of gVisor does."""
    from tests.runtime.certificates import Authority

    (tmp_path / "app").mkdir()
    (tmp_path / "app/sitecustomize.py").write_text(f"""
import errno, sys
sys.path.append({str(RUNTIME / "opt/hypercorn")!r})
from hypercorn_image.listen import draining
def refused(*_): raise OSError(errno.ENOPROTOOPT, "Protocol not available")
draining.attach_program = refused
""")
    certificate, key = Authority(tmp_path / "certificates").issue()
    tls = {"USE_SSL": "true", "USE_TCP": "false", "SSL_PORT": "0", "CERTFILE": certificate, "KEYFILE": key}
    with launch(python, tmp_path / "app", environ={**tls, "QUIC_BIND": "127.0.0.1:0"}) as one:
        log = one.serving().log
        assert log.count("The kernel does not steer QUIC packets (Protocol not available)") == 1, log


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_kernel_that_keeps_nobody_out_is_told_of_once(python: str, tmp_path: Path, workers: str) -> None:
    """It is asked for socket options that no Linux has, and refuses them as an old one does."""
    from tests.runtime.certificates import Authority

    (tmp_path / "app").mkdir()
    (tmp_path / "app/sitecustomize.py").write_text(f"""
import sys
sys.path.append({str(RUNTIME / "opt/hypercorn")!r})
from hypercorn_image.listen import draining
draining._SO_BINDTOIFINDEX = draining._SO_ATTACH_FILTER = 9999
""")
    certificate, key = Authority(tmp_path / "certificates").issue()
    tls = {"USE_SSL": "true", "SSL_PORT": "0", "CERTFILE": certificate, "KEYFILE": key, "QUIC_BIND": "127.0.0.1:0"}
    with launch(python, tmp_path / "app", environ={**tls, "WEB_CONCURRENCY": workers}) as one:
        one.serving()
        assert one.stop() == 0
        for begin in ("new connections out while the server stops", "new HTTP/3 connections from a worker that leaves"):
            assert one.log.count(f"The kernel does not keep {begin} (Protocol not available)") == 1, one.log


def test_packages_are_imported_once_before_the_workers_are_forked(server: Launch, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    note = "import os\nwith open(os.environ['EVENTS'], 'a') as file:\n    file.write(f'noted {os.getpid()}\\n')\n"
    (tmp_path / "app/of_the_user.py").write_text(note)
    with server(WEB_CONCURRENCY=2, PRELOAD_PACKAGES="not_installed,of_the_user") as one:
        one.serving()
        assert one.events("noted") == [one.process.pid]
        assert one.stop() == 0
    (tmp_path / "app/events").unlink()
    (tmp_path / "app/fastapi.py").write_text(note)
    with server(WEB_CONCURRENCY=2, PRELOAD_PACKAGES="(unset)") as one:
        one.wait_log("Serving ", 2)  # the same file
        assert one.events("noted") == [one.process.pid], "FastAPI, where it is installed"
