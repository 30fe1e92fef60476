"""The UDP sockets of HTTP/3 over reloads: whose packets go to whom, and what is closed when."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from pathlib import Path

import pytest
from hypercorn_image.errors import StartError
from hypercorn_image.listen import quic

from tests.runtime.certificates import Authority
from tests.runtime.h3 import Client, connected
from tests.runtime.launching import CLASSES, Launch
from tests.runtime.server import RUNTIME, Server, wait_for
from tests.runtime.test_protocols import quic_address, tls

BIND = "127.0.0.1:0"
# A reload runs on every class in goodbye/test_h3.py and test_protocols.py: here one is enough by default.
RELOADED = CLASSES if os.environ.get("FULL") else ("uvloop",)


def open_sockets(sockets: list[socket.socket]) -> int:
    return sum(sock.fileno() >= 0 for sock in sockets)


def test_the_places_are_dealt_evenly() -> None:
    for workers in (1, 2, 3, 4, 5, 12, 13):
        places = quic.Groups().of(BIND, workers).places
        assert places >= 12
        assert places % workers == 0
    assert quic.Groups().of(BIND, 0).places == 1, "one process, which is never replaced"


def test_a_socket_is_closed_once_another_can_take_its_place() -> None:
    groups = quic.Groups()
    group = groups.of(BIND, 2)
    one, two = group.open(6), group.open(6)
    groups.retire(one)
    assert open_sockets(one) == 6, "to close them would move those of the other worker"
    three = group.open(4)
    assert open_sockets(one) == 2
    four = group.open(4)
    assert open_sockets(one) == 0
    groups.retire(three)
    assert open_sockets(three) == 2
    assert groups.of(BIND, 3) is group
    groups.retire([*two, *four])
    assert open_sockets([*two, *three, *four]) == 0, "nobody reads any"
    assert groups.of(BIND, 3) is not group


def test_the_places_are_a_new_bind_s_own_once_all_sockets_are_closed() -> None:
    groups = quic.Groups()
    sockets = groups.of(BIND, 1).open(12)
    bind = groups.address(BIND)
    with pytest.raises(StartError, match="Address already in use"):
        quic.Groups().of(bind, 1)
    groups.retire(sockets)
    quic.Groups().of(bind, 1)


def test_an_address_that_contains_one_of_ours_is_not_taken() -> None:
    groups = quic.Groups()
    sockets = groups.of(BIND, 1).open(12)
    everywhere = groups.of("0.0.0.0:" + groups.address(BIND).rpartition(":")[2], 1)
    groups.retire([*sockets, *everywhere.open(12)])


def configure(directory: Path, **options: object) -> Path:
    """Write a configuration with so many workers, and more; return its path."""
    directory.mkdir(exist_ok=True)
    path = directory / "conf.py"
    lines = [f"{name} = {value!r}" for name, value in options.items()]
    path.write_text("\n".join(["from hypercorn_conf import *", *lines, ""]))
    return path


async def reload_meanwhile(one: Server, complete: int, workers: int) -> tuple[list[int], list[int]]:
    """Reload while connections have long answers and others begin; return the sizes of the one, statuses of the others.

    Only those of the others count whose worker stays.
    """
    address = quic_address(one)
    async with contextlib.AsyncExitStack() as stack:
        old = [await stack.enter_async_context(connected(address)) for _ in range(8)]
        before = len(one.events("slow"))
        answers = [asyncio.create_task(client.get("/slow?seconds=1&size=300000")) for client in old]
        await asyncio.to_thread(one.wait_events, "slow", before + len(old))
        one.kill(signal.SIGHUP)
        new: list[tuple[Client, int]] = []
        while one.log.count("Reload complete") < complete or len(new) < 12:
            client = await stack.enter_async_context(connected(address))
            with contextlib.suppress(ConnectionError):
                new.append((client, json.loads((await client.get())[1])["pid"]))
        sizes = [len((await answer)[1]) for answer in answers]
        await asyncio.to_thread(wait_for, lambda: len(one.children()) == workers, f"{workers} workers", lambda: one.log)
        staying = one.children()
        return sizes, [(await client.get())[0] for client, pid in new if pid in staying]


@pytest.mark.parametrize("worker_class", RELOADED, indirect=True)
def test_a_reload_to_another_number_of_workers_breaks_no_http_3_connection(
    server: Launch, tmp_path: Path, worker_class: str, unprivileged: None
) -> None:
    conf = configure(tmp_path / "app", workers=2)
    settings = tls(Authority(tmp_path / "certificates"), WORKER_CLASS=worker_class)
    with server(HYPERCORN_CONF=conf, QUIC_BIND=BIND, **settings) as one:
        one.serving()
        for complete, workers in enumerate((3, 2), 1):
            configure(tmp_path / "app", workers=workers)
            sizes, statuses = asyncio.run(reload_meanwhile(one, complete, workers))
            assert sizes == [300_000] * 8
            assert statuses
            assert set(statuses) == {200}
        assert one.stop() == 0
        assert "Traceback" not in one.log


def test_every_worker_advertises_http_3_once(server: Launch, tmp_path: Path) -> None:
    import httpx

    with server(QUIC_BIND=BIND, **tls(Authority(tmp_path / "certificates"))) as one:
        one.serving()
        port = quic_address(one)[1]
        headers = httpx.get(one.urls()[0], verify=False).headers
        assert headers.get_list("alt-svc") == [f'h3=":{port}"; ma=3600']


def test_a_quic_bind_that_goes_and_comes_back_while_old_workers_drain(server: Launch, tmp_path: Path) -> None:
    conf = configure(tmp_path / "app")
    with server(HYPERCORN_CONF=conf, QUIC_BIND=BIND, **tls(Authority(tmp_path / "certificates"))) as one:
        bind = "{}:{}".format(*quic_address(one.serving()))

        async def remove_and_bring_back() -> tuple[int, int]:
            async with connected(quic_address(one)) as client:
                answer = asyncio.create_task(client.get("/held?size=300000"))
                await asyncio.to_thread(one.wait_events, "slow", 1)
                for complete, binds in enumerate(([], [bind]), 1):
                    configure(tmp_path / "app", quic_bind=binds)
                    one.kill(signal.SIGHUP)
                    await asyncio.to_thread(one.wait_log, "Reload complete", complete)
                assert not answer.done(), "its worker still drains"
                one.release()
                size = len((await answer)[1])
            async with connected(quic_address(one)) as client:
                return size, (await client.get())[0]

        assert asyncio.run(remove_and_bring_back()) == (300_000, 200)
        assert "Reload failed" not in one.log


def test_workers_beyond_the_places_of_http_3_are_said_and_serve_without_it(
    server: Launch, tmp_path: Path, unprivileged: None
) -> None:
    conf = configure(tmp_path / "app", workers=1)
    (tmp_path / "app/sitecustomize.py").write_text(
        f"import sys\nsys.path.append({str(RUNTIME / 'opt/hypercorn')!r})\n"
        "from hypercorn_image.listen import quic\nquic.PLACES = 1\n"
    )
    said = "Only 1 workers can serve HTTP/3 until the container is restarted; 2 serve without it"
    with server(HYPERCORN_CONF=conf, QUIC_BIND=BIND, **tls(Authority(tmp_path / "certificates"))) as one:
        one.serving()
        assert "can serve HTTP/3" not in one.log
        configure(tmp_path / "app", workers=3)
        one.kill(signal.SIGHUP)
        one.wait_log("Reload complete")
        assert said in one.log

        async def get() -> int:
            async with connected(quic_address(one)) as client:
                return (await client.get())[0]

        assert [asyncio.run(get()) for _ in range(4)] == [200] * 4
        assert one.stop() == 0
