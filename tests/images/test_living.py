"""Living and stopping in containers, under load: every request sent and every answer received is counted."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from websockets.sync.client import connect as ws_connect

from imagematrix.matrix.model import Variant
from tests.images.container import Container, Runner, address, archive, wait_for
from tests.local import free_port, need
from tests.runtime.certificates import Authority
from tests.runtime.h2client import fetch_all
from tests.runtime.h3 import connected
from tests.runtime.load import Load
from tests.runtime.server import APPLICATIONS, request

pytestmark = pytest.mark.images("hypercorn", one_per="python", at_most=3)
MAIN = (APPLICATIONS / "main.py").read_text()
Start = Callable[..., AbstractContextManager[Container]]


@pytest.fixture
def start(run: Runner, image: str, worker_class: str) -> Start:
    def begin(files: dict[str, str] | None = None, **environ: Any) -> AbstractContextManager[Container]:
        given = {
            "WORKER_CLASS": worker_class,
            "WEB_CONCURRENCY": "2",
            "GRACEFUL_TIMEOUT": "20",
            "EVENTS": "/tmp/events",
            "HOST": "127.0.0.1",
            "TCP_PORT": str(free_port()),
            "SSL_PORT": str(free_port()),
        }
        given.update({name: str(value).format(**given) for name, value in environ.items()})
        files = {"/app/main.py": MAIN, **(files or {})}
        return run(image, files=files, environment=given, publish=(), network_mode="host")

    return begin


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[Authority, dict[str, str], dict[str, str]]]:
    """An authority, files with its certificate, and the variables that use them."""
    authority = Authority(tmp_path / "certificates")
    paths = authority.issue()
    files = {f"/certificates/{Path(path).name}": Path(path).read_text() for path in paths}
    environ = {"USE_SSL": "true", "CERTFILE": "/certificates/server.pem", "KEYFILE": "/certificates/server.key"}
    yield authority, files, environ


def said(container: Container, text: str, count: int = 1) -> None:
    wait_for(lambda: container.logs().count(text) >= count, f"{text!r} in the log", container.logs)


def clean(container: Container) -> None:
    assert "Traceback" not in container.logs(), container.logs()[-3000:]


@pytest.mark.every_class
@pytest.mark.parametrize("keep_alive", [False, True], ids=["new-connections", "keep-alive"])
def test_a_stop_under_load_loses_no_request(start: Start, workers: int, keep_alive: bool) -> None:
    with start(WEB_CONCURRENCY=workers) as container:
        said(container, "Serving")
        with Load(address(container), keep_alive=keep_alive) as load, ThreadPoolExecutor(8) as pool:
            slow = [pool.submit(request, address(container), "/slow?seconds=1") for _ in range(4)]
            wait_for(lambda: container.run("cat", "/tmp/events").count("slow") == 4, "requests in progress")
            begun = time.monotonic()
            assert container.stop() == 0
            assert time.monotonic() - begun < 21
            load._stop.set()
            assert [future.result()[0] for future in slow] == [200] * 4
        assert load.lost == 0, (load.counts, load.failures[:5])
        clean(container)


def test_the_process_group_and_a_second_signal_lose_no_request(start: Start) -> None:
    with start() as container, ThreadPoolExecutor(4) as pool:
        said(container, "Serving")
        slow = [pool.submit(request, address(container), "/slow?seconds=1") for _ in range(4)]
        wait_for(lambda: container.run("cat", "/tmp/events").count("slow") == 4, "requests in progress")
        pids = [line for line in container.run("sh", "-c", "ls /proc").split() if line.isdigit()]
        container.docker.exec_run(["sh", "-c", f"kill -TERM {' '.join(pids)} 2>/dev/null; kill -INT 1"])
        assert container.wait() == 0
        assert [future.result()[0] for future in slow] == [200] * 4
        clean(container)


def test_a_stop_while_starting_ends_at_once(start: Start) -> None:
    with start(STARTUP_SECONDS=50) as container:
        wait_for(lambda: "starting" in container.run("sh", "-c", "cat /tmp/events; :"), "the start")
        begun = time.monotonic()
        assert container.stop() == 0
        assert time.monotonic() - begun < 10


@pytest.mark.every_class
def test_a_worker_that_dies_is_replaced(start: Start, workers: int) -> None:
    with start(WEB_CONCURRENCY=workers) as container:
        said(container, "Serving")
        with pytest.raises((EOFError, OSError)):
            request(address(container), "/crash")
        died = time.monotonic()
        started = workers + 1
        wait_for(lambda: container.run("cat", "/tmp/events").count("startup") == started, "another", container.logs)
        assert time.monotonic() - died < 5
        assert request(address(container))[0] == 200


def test_one_that_cannot_start_ends_the_container(start: Start) -> None:
    with start(LIFESPAN="fail") as container:
        assert container.wait() == 1
        assert (
            container.logs()
            == ("hypercorn-image: error: the application's lifespan failed to start: the database is away\n")
            or "the database is away" in container.logs()
        )
        clean(container)


@pytest.mark.every_class
def test_sighup_and_max_requests_replace_workers_and_refuse_nobody(start: Start, workers: int) -> None:
    with start(WEB_CONCURRENCY=workers, MAX_REQUESTS=300) as container:
        said(container, "Serving")
        with Load(address(container)) as fresh, Load(address(container), keep_alive=True) as kept:
            container.docker.kill("SIGHUP")
            said(container, "Reload complete")
            said(container, "reached max_requests", 2)
        for load in (fresh, kept):
            assert load.lost == 0, (load.counts, load.failures[:5])
            assert load.counts["refused"] == 0
        assert container.stop() == 0
        clean(container)


def test_sighup_picks_up_a_renewed_certificate(
    start: Start, tls: tuple[Authority, dict[str, str], dict[str, str]]
) -> None:
    authority, files, environ = tls
    with start(files, **environ) as container:
        said(container, "Serving")
        first = ssl.get_server_certificate(address(container, "SSL_PORT"))
        authority.issue()
        renewed = {f"certificates/{path.name}": path.read_text() for path in authority.directory.glob("server.*")}
        container.docker.put_archive("/", archive(renewed))
        container.docker.kill("SIGHUP")
        said(container, "Reload complete")
        assert ssl.get_server_certificate(address(container, "SSL_PORT")) != first


def test_web_concurrency_0(start: Start) -> None:
    with start(WEB_CONCURRENCY=0) as container:
        said(container, "Serving")
        assert json.loads(request(address(container))[2])["pid"] == 1
        with Load(address(container)) as load:
            wait_for(lambda: load.counts["answered"] > 50, "load")
            assert container.stop() == 0
            load._stop.set()
        assert load.lost == 0, (load.counts, load.failures[:5])


def test_orphans_are_reaped(start: Start) -> None:
    with start() as container:
        said(container, "Serving")
        for _ in range(3):
            request(address(container), "/orphan")
        states = "cat /proc/[0-9]*/stat 2>/dev/null | sed 's/.*) //' | cut -c1; :"
        wait_for(lambda: "Z" not in container.run("sh", "-c", states), "the end of the zombies")
        listing = "cat /proc/[0-9]*/comm 2>/dev/null; :"
        wait_for(lambda: "sleep" not in container.run("sh", "-c", listing), "the end of the orphans")


def test_websockets_over_http_1_get_a_close_frame_and_over_http_2_work(start: Start) -> None:
    from tests.runtime.h2ws import talk

    with start() as container, ThreadPoolExecutor(1) as pool:
        said(container, "Serving")
        assert talk(address(container), "hello") == "echo hello"
        with ws_connect("ws://{}:{}/".format(*address(container))) as socket:
            socket.send("hello")
            assert socket.recv() == "echo hello"
            stopped = pool.submit(container.stop)
            with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
                socket.recv(timeout=20)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
            assert stopped.result() == 0
        clean(container)


def test_every_protocol(variant: Variant, start: Start, tls: tuple[Authority, dict[str, str], dict[str, str]]) -> None:
    _, files, environ = tls
    has_h3 = "h3" in {extra.name for extra in variant.extras}
    if has_h3:
        environ = {**environ, "QUIC_BIND": "{HOST}:{SSL_PORT}"}

    async def http_3(where: tuple[str, int]) -> list[int]:
        found = []
        for _ in range(10):
            async with connected(where) as session:
                found.append((await session.get())[0])
        return found

    with start(files, **environ) as container:
        said(container, "Serving")
        plain, secure = address(container), address(container, "SSL_PORT")
        assert fetch_all(secure, ["/?size=1000"] * 200, tls=True) == [1000] * 200
        assert fetch_all(plain, ["/?size=1000"] * 200) == [1000] * 200, "h2c"
        with httpx.Client(verify=False, http2=True) as client:
            assert client.get("https://{}:{}/".format(*secure)).http_version == "HTTP/2"
        assert request(plain)[0] == 200
        if has_h3:
            assert asyncio.run(http_3(secure)) == [200] * 10
        begun = time.monotonic()
        assert container.stop() == 0
        assert time.monotonic() - begun < 15, "no stop lasts the whole graceful timeout"
        clean(container)


def test_h2load(start: Start) -> None:
    need("h2load", package="nghttp2-client")
    with start(ACCESS_LOG="") as container:
        said(container, "Serving")
        url = "http://{}:{}/".format(*address(container))
        found = subprocess.run(
            ["h2load", "-n", "4000", "-c", "4", "-m", "20", url], capture_output=True, text=True, check=True
        )
        assert "4000 succeeded, 0 failed, 0 errored, 0 timeout" in found.stdout


@pytest.mark.parametrize("kind", ["Asgi2", "wsgi"])
def test_asgi_2_and_wsgi(start: Start, kind: str) -> None:
    with start(VARIABLE_NAME=kind) as container:
        said(container, "Serving")
        assert request(address(container))[0] == 200
        assert container.stop() == 0
        clean(container)


def test_json_logs(start: Start) -> None:
    with start(LOG_FORMAT="json") as container:
        said(container, "Serving")
        request(address(container), "/path")
        assert container.stop() == 0
        lines = [json.loads(line) for line in container.logs().splitlines()]
        assert any(line.get("path") == "/path" and line["status"] == 200 for line in lines)
