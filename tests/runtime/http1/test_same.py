"""The same bytes to plain Hypercorn and to the fast path: the same answer, connection, ASGI events and log lines.

Where the fast path does better on purpose:

- What follows a request that says `Connection: close` is ignored (RFC 9112, 9.6). Hypercorn answers 400 to the request
  itself, unless its answer has been sent already.
- When the answer is sent before the request's body has arrived, the rest of the body is read for up to a second before
  the connection is closed, and the connection is kept when the body is complete (RFC 9112, 9.6: a close would reset it,
  and the client might lose the answer).
"""

from __future__ import annotations

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.runtime.http1.both import Case, difference, serving
from tests.runtime.http1.cases import CASES, request
from tests.runtime.launching import Launch, in_flight

OPTIONS: list[dict[str, Any]] = [
    {"h11_pass_raw_headers": True, "root_path": "/root", "include_server_header": False},
    {"server_names": ["a", "sentinel"], "h11_max_incomplete_size": 200},
    {"alt_svc_headers": ['h3=":443"'], "include_date_header": False},
]
SOME = CASES if os.environ.get("FULL") else CASES[::40]


def differences(cases: list[Case], worker_class: str = "asyncio", **options: Any) -> list[str]:
    """Return what is different in these cases."""
    with (
        serving(False, worker_class, **options) as plain,
        serving(True, worker_class, **options) as fast,
        ThreadPoolExecutor(8) as pool,
    ):
        return [found for found in pool.map(lambda case: difference(plain, fast, case), cases) if found]


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 3000
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("worker_class", ["asyncio", "uvloop"])
def test_the_fast_path_does_what_hypercorn_does(worker_class: str) -> None:
    different = differences(SOME, worker_class, include_date_header=False)
    assert not different, f"{len(different)} differ; the first:\n{different[0]}"


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options))
def test_options_mean_the_same(options: dict[str, Any]) -> None:
    # Over HTTP/2 the date is compressed: it cannot be left out of the comparison.
    different = differences([case for case in SOME if b"h2c" not in b"".join(case.pieces)], **options)
    assert not different, f"{len(different)} differ; the first:\n{different[0]}"


def test_a_request_that_closes_is_answered_whatever_follows() -> None:
    closing = request("/echo", "POST", "Connection: close", body=b"hello")
    with serving(True) as fast:
        found = fast.run(Case("closing", (closing + request(),)))
    assert found.answer.startswith(b"HTTP/1.1 200 ")
    assert found.answer.count(b"HTTP/1.1") == 1


def test_an_answer_that_comes_before_the_body_is_not_lost_and_the_connection_is_kept() -> None:
    head = b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n"
    with serving(True) as fast, socket.create_connection(fast.address, 30) as client:
        client.sendall(head)
        assert client.recv(1 << 16).endswith(b"early")
        client.sendall(b"z" * 3_000_000 + request("/echo", "POST", body=b"hello"))
        assert client.recv(1 << 16).endswith(b"hello")


def test_the_rest_of_a_body_is_not_waited_for_longer_than_a_second() -> None:
    head = b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n"
    with serving(True) as fast, socket.create_connection(fast.address, 30) as client:
        client.sendall(head)
        assert client.recv(1 << 16).endswith(b"early")
        assert client.recv(1) == b""


@pytest.mark.parametrize("worker_class", ["asyncio", "uvloop"])
def test_a_reload_and_a_stop_lose_no_request(server: Launch, worker_class: str) -> None:
    with server(WORKER_CLASS=worker_class, HTTP1="fast") as one, ThreadPoolExecutor(8) as pool:
        one.serving()
        slow = in_flight(pool, one, 4, 1)
        one.kill(signal.SIGHUP)
        one.wait_log("Reload complete")
        slow += in_flight(pool, one, 4, 1)
        assert one.stop() == 0
        assert [future.result()[0] for future in slow] == [200] * 8
        assert len(one.events("shutdown")) == 4
