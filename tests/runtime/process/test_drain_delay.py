"""DRAIN_DELAY: after SIGTERM readiness fails at once, and everything is served until the stop begins."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.runtime.haproxy import answered_by, haproxy
from tests.runtime.launching import Launch, every_class
from tests.runtime.load import Load
from tests.runtime.process.clients import free_ports
from tests.runtime.server import RUNTIME, Server, request, wait_for

REPLACEMENTS = 100 if os.environ.get("FULL") else 2


def health(python: str, one: Server) -> tuple[int, str]:
    """Return the exit status of the image's health check, and what it says."""
    command = [python, "-IS", str(RUNTIME / "opt/hypercorn/healthcheck.py")]
    environ = {"STATE_DIRECTORY": str(one.directory)}
    found = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    return found.returncode, found.stdout


@every_class
@pytest.mark.parametrize("workers", [0, 2])
def test_readiness_fails_and_requests_are_served_until_a_second_sigterm(
    server: Launch, python: str, worker_class: str, workers: int
) -> None:
    settings = {"WORKER_CLASS": worker_class, "WEB_CONCURRENCY": workers, "HEALTHCHECK_PATH": "/ready"}
    with server(DRAIN_DELAY=600, **settings) as one:
        one.serving()
        assert (request(one.address, "/ready")[0], health(python, one)[0]) == (200, 0)
        one.kill(signal.SIGTERM)
        one.wait_log("SIGTERM received; draining for 600 s, then stopping")
        wait_for(lambda: {request(one.address, "/ready")[0] for _ in range(20)} == {503}, "readiness that fails")
        assert health(python, one) == (1, "unhealthy: the server is draining: it stops soon (DRAIN_DELAY)\n")
        assert {request(one.address, "/")[0] for _ in range(20)} == {200}, "new connections are served"
        assert one.stop() == 0
        assert "SIGTERM received; stopping" in one.log or workers == 0


@every_class
@pytest.mark.parametrize("workers", [0, 2])
def test_the_stop_begins_when_the_delay_is_over(server: Launch, worker_class: str, workers: int) -> None:
    with server(WORKER_CLASS=worker_class, WEB_CONCURRENCY=workers, DRAIN_DELAY=0.3) as one:
        one.serving()
        with Load(one.address, keep_alive=True) as load:
            wait_for(lambda: load.counts["answered"] > 20, "answers")
            one.kill(signal.SIGTERM)
            assert one.wait() == 0
        assert load.lost == 0
        assert len(one.events("shutdown")) == max(1, workers)


def test_a_worker_that_is_replaced_while_the_server_drains_is_not_ready_either(server: Launch) -> None:
    with server(WEB_CONCURRENCY=1, DRAIN_DELAY=600, HEALTHCHECK_PATH="/ready") as one:
        one.serving()
        one.kill(signal.SIGTERM)
        one.wait_log("draining")
        os.kill(one.children()[0], signal.SIGKILL)
        one.wait_log("started")
        wait_for(lambda: request(one.address, "/ready")[0] == 503, "readiness that fails")
        one.kill(signal.SIGQUIT)
        assert one.wait() == 0


def test_a_reload_while_the_server_drains_is_done_and_its_workers_are_not_ready(server: Launch, tmp_path: Path) -> None:
    socket_path = str(tmp_path / "socket")
    with server(BIND=f"unix:{socket_path}", WEB_CONCURRENCY=2, DRAIN_DELAY=600, HEALTHCHECK_PATH="/ready") as one:
        one.serving()
        one.kill(signal.SIGTERM)
        one.wait_log("draining")
        one.kill(signal.SIGHUP)
        one.wait_log("Reload complete")
        wait_for(lambda: {request(socket_path, "/ready")[0] for _ in range(20)} == {503}, "readiness that fails")
        assert request(socket_path, "/")[0] == 200
        assert one.stop() == 0


def test_behind_haproxy_servers_are_replaced_one_by_one_and_no_request_fails(server: Launch, tmp_path: Path) -> None:
    ports = free_ports(socket.SOCK_STREAM, 2)
    settings = {"DRAIN_DELAY": 2, "HEALTHCHECK_PATH": "/ready", "ACCESS_LOG": "", "WEB_CONCURRENCY": 1}
    addresses = [("127.0.0.1", port) for port in ports]
    with haproxy(tmp_path, addresses, "check inter 200ms fall 2 rise 1", "option httpchk GET /ready") as path:
        started = [server(BIND=f"127.0.0.1:{port}", **settings) for port in ports]
        servers = [one.__enter__().serving() for one in started]
        try:
            for one in servers:
                wait_for(lambda one=one: answered_by(path) & {*one.children()}, "an answer of each server")
            with Load(path, keep_alive=True) as load:
                for number in range(REPLACEMENTS):
                    place = number % 2
                    assert servers[place].stop() == 0
                    started[place].__exit__(None, None, None)
                    started[place] = server(BIND=f"127.0.0.1:{ports[place]}", **settings)
                    servers[place] = started[place].__enter__().serving()
                    new = servers[place]
                    wait_for(lambda new=new: answered_by(path) & {*new.children()}, "an answer of the new server")
                load.finish()
        finally:
            for one in started:
                one.__exit__(None, None, None)
    assert (load.lost, load.failures) == (0, [])
