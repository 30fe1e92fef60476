"""LIMIT_CONCURRENCY: what a worker does not begin is answered with 503 at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as ws_connect

from tests.runtime.h2ws import Connection
from tests.runtime.launching import Launch, every_class, in_flight
from tests.runtime.server import Server, connect, request, wait_for

LINE = "LIMIT_CONCURRENCY reached: 3 requests in progress; more are answered with 503"


def over_http_1(one: Server) -> tuple[int, str | None]:
    status, headers, _ = request(one.address, "/x")
    return status, headers.get("retry-after")


def with_a_body(one: Server) -> tuple[int, str | None]:
    answer = httpx.post(f"http://{one.address[0]}:{one.address[1]}/x", content=b"x" * 2**20)
    return answer.status_code, answer.headers.get("retry-after")


def over_http_2(one: Server) -> tuple[int, str | None]:
    with httpx.Client(http1=False, http2=True) as session:
        answer = session.get(f"http://{one.address[0]}:{one.address[1]}/x")
    return answer.status_code, answer.headers.get("retry-after")


def websocket(one: Server) -> tuple[int, str | None]:
    try:
        with ws_connect(f"ws://{one.address[0]}:{one.address[1]}/"):
            return 200, None
    except InvalidStatus as error:
        return error.response.status_code, error.response.headers.get("retry-after")


def websocket_over_http_2(one: Server) -> tuple[int, str | None]:
    with connect(one.address) as sock:
        client = Connection(sock)
        client.ask_for_websocket()
        client.run_until(lambda: bool(client.answer))
        after = client.answer.get(b"retry-after")
        return int(client.answer[b":status"]), after.decode() if after is not None else None


KINDS: list[Callable[[Server], tuple[int, str | None]]] = [
    over_http_1,
    with_a_body,
    over_http_2,
    websocket,
    websocket_over_http_2,
]


@every_class
@pytest.mark.parametrize("http1", ["fast", "hypercorn"])
def test_more_than_the_limit_is_refused_at_once_and_nothing_else(server: Launch, worker_class: str, http1: str) -> None:
    settings = {"WORKER_CLASS": worker_class, "HTTP1": http1, "HEALTHCHECK_PATH": "/", "WEB_CONCURRENCY": 1}
    with server(LIMIT_CONCURRENCY=3, **settings) as one, ThreadPoolExecutor(2) as pool:
        url = f"://{one.serving().address[0]}:{one.address[1]}/"
        held = in_flight(pool, one, 1)
        with ws_connect("ws" + url), httpx.Client(http1=False, http2=True, timeout=60) as session:
            one.wait_events("accepted", 1)
            held.append(pool.submit(session.get, f"http{url}held"))
            one.wait_events("slow", 2)
            for _ in range(3):
                assert [kind(one) for kind in KINDS] == [(503, "1")] * len(KINDS)
            assert request(one.address, "/")[0] == 200, "the path of the health check"
            one.release()
            assert held[0].result()[0] == 200
            assert held[1].result().status_code == 200
        one.wait_events("disconnected", 1)
        assert [kind(one) for kind in KINDS] == [(200, None)] * len(KINDS)
        assert one.stop() == 0
        assert 1 <= one.log.count(LINE) < 3 * len(KINDS), "once in ten seconds"
        assert len([line for line in one.log.splitlines() if '" 503 ' in line]) == 3 * len(KINDS)
        assert "Traceback" not in one.log


def test_wsgi(server: Launch) -> None:
    with server(LIMIT_CONCURRENCY=1, APP_MODULE="main:wsgi", WEB_CONCURRENCY=1) as one, ThreadPoolExecutor(1) as pool:
        held = in_flight(pool, one.serving(), 1)
        assert over_http_1(one) == (503, "1")
        one.release()
        assert held[0].result()[0] == 200
        assert over_http_1(one) == (200, None)


def test_each_worker_has_the_limit(server: Launch) -> None:
    with server(LIMIT_CONCURRENCY=1, WEB_CONCURRENCY=2) as one, ThreadPoolExecutor(4) as pool:
        one.serving()

        def both_serve_one() -> bool:
            pool.submit(request, one.address, "/held")
            return len(set(one.events("slow"))) == 2

        wait_for(both_serve_one, "request for each worker")
        assert over_http_1(one) == (503, "1")
        assert len(one.events("slow")) == 2
        one.release()
