"""Random histories with real processes, under load over HTTP/1.1, HTTP/2 and HTTP/3 on IPv4, IPv6 and unix sockets.

Every request is counted: it is answered, or the server says that it may be sent again, or it was at a worker that was
killed. A history that fails names its seed: SEED=… with `pytest tests/runtime/process/test_histories.py -k CLASS`
repeats it. FULL=1 runs 200 of each worker class, `HISTORIES=…` another number.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.runtime.certificates import Authority
from tests.runtime.launching import CLASSES, Launch
from tests.runtime.process.clients import Address, Client, Counts, every_client, free_ports
from tests.runtime.server import RUNTIME, Server, wait_for

QUICK = {"asyncio": 4, "uvloop": 3, "trio": 3}
FULL = int(os.environ.get("HISTORIES", "200" if os.environ.get("FULL") else "0"))
FIRST = int(os.environ.get("SEED", "1"))
EVENTS = 6


# The clients share the machine with all that runs: a server that does not wait longer for them cuts what they hold.
PATIENT = f"""
import sys
sys.path.append({str(RUNTIME / "opt/hypercorn")!r})
from hypercorn_image.worker import h2, serving
h2.HEARD = serving.HEARD = 60.0
"""


def seeds(worker_class: str) -> range:
    """Return the seeds of a class: one where SEED asks for it."""
    count = 1 if "SEED" in os.environ else FULL or QUICK[worker_class]
    return range(FIRST, FIRST + count)


class Operator:
    """Writes configurations, sends signals, kills workers; notes whom it killed, and which connections may be lost."""

    def __init__(self, directory: Path, chance: random.Random) -> None:
        self.chance = chance
        self.done: list[str] = []
        self.killed: list[int] = []
        self.at_risk: set[tuple[str, int]] = set()  # the connections, by client and number, that a killed worker had
        self.clients: list[Client] = []
        self.certificate, self.key = Authority(directory / "certificates").issue()
        self.file, self.socket = directory / "conf.py", directory / "socket"
        tcp, tls = free_ports(socket.SOCK_STREAM, 2)
        (udp,) = free_ports(socket.SOCK_DGRAM, 1)
        self.binds = (
            f"bind = ['127.0.0.1:{tls}']\n"
            f"insecure_bind = ['127.0.0.1:{tcp}', '[::1]:{tcp}', 'unix:{self.socket}']\n"
            f"quic_bind = ['127.0.0.1:{udp}', '[::1]:{udp}']\n"
        )
        self.addresses: dict[str, Address] = {
            "IPv4": ("127.0.0.1", tcp),
            "IPv6": ("::1", tcp),
            "unix": str(self.socket),
            "quic IPv4": ("127.0.0.1", udp),
            "quic IPv6": ("::1", udp),
        }
        self.limit = chance.choice([None, 60])
        self.workers = 2
        self.configure(self.workers)

    def configure(self, workers: int, certificate: str | None = None) -> None:
        self.workers = workers
        self.write(
            f"{self.binds}certfile = {str(certificate or self.certificate)!r}\nkeyfile = {str(self.key)!r}\n"
            f"workers = {workers}\ngraceful_timeout = 20\nmax_requests = {self.limit}\naccesslog = None\n"
        )

    def write(self, text: str) -> None:
        """Write the configuration at once: a reload may be reading it."""
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.replace(self.file)

    # ---- what happens ------------------------------------------------------------------------------------------------

    def same(self, one: Server) -> None:
        self.configure(self.workers)
        one.kill(signal.SIGHUP)

    def more_or_fewer(self, one: Server) -> None:
        self.configure(self.chance.choice([number for number in (2, 3, 4) if number != self.workers]))
        one.kill(signal.SIGHUP)

    def wrong_configuration(self, one: Server) -> None:
        self.write(f"{self.binds}workers = -1\n")
        one.kill(signal.SIGHUP)

    def wrong_workers(self, one: Server) -> None:
        """It can be read, and its workers cannot start."""
        broken = self.file.with_name("broken.pem")
        broken.write_text("no certificate")
        self.configure(self.workers, str(broken))
        one.kill(signal.SIGHUP)

    def kill(self, one: Server) -> None:
        victim = self.chance.choice(one.children() or [0])
        if victim and len(self.killed) < 3:
            self.killed.append(victim)
            self.at_risk |= {(client.name, client.number) for client in self.clients if client.may_be_at(victim)}
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
            for client in self.clients:
                client.worker_died(victim)

    def recycle(self, one: Server) -> None:
        starting = set(one.events("startup"))
        victims = [pid for pid in one.children() if pid in starting]
        if victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.chance.choice(victims), signal.SIGTERM)

    def signal_the_group(self, one: Server) -> None:
        numbers = [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU, signal.SIGALRM]
        os.killpg(one.process.pid, self.chance.choice(numbers))

    async def live(self, one: Server) -> None:
        events: list[Callable[[Server], None]] = [
            self.same, self.more_or_fewer, self.wrong_configuration, self.wrong_workers,
            self.kill, self.recycle, self.signal_the_group,
        ]  # fmt: skip
        for _ in range(EVENTS):
            event = self.chance.choice(events)
            self.done.append(event.__name__)
            event(one)
            await asyncio.sleep(self.chance.choice([0, 0.05, 0.2, 0.5]))


def unexplained(operator: Operator, counts: Counts) -> list[str]:
    """Return the losses that no kill explains: a kill loses what its worker had, and no other connection.

    On one connection that is what was in flight: a client begins nothing new before all of it has ended.
    """
    return [
        f"{loss.client} at worker {loss.pid}: {loss.why}"
        for loss in counts.lost
        if (loss.client, loss.number) not in operator.at_risk
    ]


@asynccontextmanager
async def load(operator: Operator, counts: Counts) -> AsyncIterator[None]:
    operator.clients = every_client(operator.addresses, counts)
    paths = random.Random(1)
    tasks = [
        asyncio.ensure_future(client.run(lambda: paths.choice(["/", "/", "/slow?seconds=0.1"])))
        for client in operator.clients
    ]
    try:
        yield
    finally:
        for client in operator.clients:
            client.over.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 60)


async def one_history(one: Server, operator: Operator, counts: Counts) -> None:
    chance = operator.chance

    async def wait(text: str, count: int = 1) -> None:
        await asyncio.to_thread(one.wait_log, text, count)

    await wait("Serving ")
    async with load(operator, counts):
        await operator.live(one)
        if await ended_and_said_why(one):
            return
        # From now on all is right: the last reload ends, with as many workers as it says, and each client is served.
        complete = one.log.count("Reload complete")
        operator.same(one)
        await wait("Reload complete", complete + 1)
        await asyncio.to_thread(wait_for, lambda: settled(one, operator), "settled workers", lambda: one.log)
        before = counts.answered.copy()
        names = [client.name for client in operator.clients]
        while any(counts.answered[name] <= before[name] for name in names) and not unexplained(operator, counts):
            await asyncio.sleep(0.01)
        one.kill(chance.choice([signal.SIGTERM, signal.SIGINT]))
        assert await asyncio.to_thread(one.wait) == 0


def settled(one: Server, operator: Operator) -> bool:
    # With MAX_REQUESTS there is mostly one that is replaced.
    return len(one.children()) == operator.workers or operator.limit is not None


async def ended_and_said_why(one: Server) -> bool:
    """Tell whether it has ended because the only worker left was killed while it started: the one fair reason."""
    return "A worker failed to start; stopping" in one.log and await asyncio.to_thread(one.wait) == 1


@pytest.mark.parametrize(
    ("worker_class", "seed"),
    [(name, seed) for name in CLASSES for seed in seeds(name)],
    indirect=["worker_class"],
)
def test_a_random_history_loses_what_was_at_a_killed_worker_and_nothing_else(
    server: Launch, worker_class: str, seed: int, tmp_path: Path, unprivileged: None
) -> None:
    operator, counts = Operator(tmp_path, random.Random(seed)), Counts()
    settings = {"WORKER_CLASS": worker_class, "HYPERCORN_CONF": operator.file, "STARTUP_SECONDS": seed % 3 * 0.2}
    (tmp_path / "app").mkdir()
    (tmp_path / "app/sitecustomize.py").write_text(PATIENT)
    with server(**settings) as one:
        try:
            asyncio.run(asyncio.wait_for(one_history(one, operator, counts), 180))
            assert unexplained(operator, counts) == []
            assert "Traceback" not in one.log
        except BaseException as error:
            story = f"SEED={seed} CLASS={worker_class}: {', '.join(operator.done)}; killed {operator.killed}"
            raise AssertionError(f"{story}\n{type(error).__name__}: {error}\n{counts}\n{one.log[-6000:]}") from error
