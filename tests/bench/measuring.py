"""Measures a case: all servers run, and are asked in turn, round by round."""

from __future__ import annotations

import contextlib
import resource
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from imagematrix.machine.artefacts import deferred
from imagematrix.project import ROOT
from tests.bench import machine
from tests.bench.cases import Case
from tests.bench.loads import Failed, Load, load
from tests.bench.running import Running, start
from tests.bench.servers import Place, Server
from tests.local import free_port
from tests.runtime.certificates import Authority

GRACE = 30.0
"""Seconds beyond its time after which a client is ended."""


@dataclass(frozen=True)
class Sample:
    """One round with one server."""

    requests_per_second: float
    server_microseconds: float
    """Processor time of the server's processes for each request."""
    client_share: float
    """How much of its cores' time the client used: close to 1, the client is what is measured."""
    resumed_share: float | None = None


@dataclass
class Cell:
    """What became of a server in a case: samples, or why there are none."""

    server: str
    why: str = ""
    samples: list[Sample] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """A case with a cell for each server."""

    case: Case
    client: str
    cells: dict[str, Cell]


@dataclass(frozen=True)
class Bench:
    """What measures: the environment's Python, a folder to write in, how many rounds of how many seconds."""

    python: Path
    folder: Path
    rounds: int
    seconds: float
    say: Callable[[str], None] = lambda line: None

    def measure(self, case: Case, servers: Iterable[Server]) -> Row:
        """Measure a case."""
        cells = {server.name: Cell(server.name, server.lacks.get(case.feature, "")) for server in servers}
        able = [server for server in servers if not cells[server.name].why]
        with self._running(case, able, cells) as running:
            for number in range(self.rounds):
                turn = number % max(len(running), 1)
                for one in running[turn:] + running[:turn]:
                    self._sample(one, cells[one.server.name])
                self.say(f"  round {number + 1} of {self.rounds}: {_last(cells)}")
        return Row(case, load(case, 0, self.seconds, self.folder).program, cells)

    @contextlib.contextmanager
    def _running(self, case: Case, servers: list[Server], cells: dict[str, Cell]) -> Iterator[list[Running]]:
        """Start servers, and yield those that give the right answer."""
        certificate, key = Authority(self.folder / "tls").issue()
        with contextlib.ExitStack() as stack:
            right = []
            for server in servers:
                place = Place(self.python, free_port(), certificate, key, self.folder / case.name / server.name)
                with deferred():  # a Ctrl-C between its start and the note that it is to be ended would leave it
                    right.append(start(server, case, place))
                    stack.callback(right[-1].end)
            for one in list(right):
                try:
                    one.wait_until_right()
                except Failed as error:
                    cells[one.server.name].why = str(error)
                    right.remove(one)
            yield right

    def _sample(self, one: Running, cell: Cell) -> None:
        if cell.why:
            return
        client = load(one.case, one.place.port, self.seconds, self.folder)
        try:
            cell.samples.append(self._ask(one, client))
        except Failed as error:
            cell.why = str(error)
            cell.samples.clear()

    def _ask(self, one: Running, client: Load) -> Sample:
        cores = machine.cores(one.case.workers)
        before, used, began = machine.processor_time(one.process.pid), _children(), time.monotonic()
        output = _run(machine.pinned(client.command, cores and cores[1]), self.seconds + GRACE)
        elapsed = time.monotonic() - began
        client_time = _children() - used
        count = client.read(output)
        if not count.requests:
            raise Failed("no request was answered")
        return Sample(
            requests_per_second=count.requests / count.seconds,
            server_microseconds=(machine.processor_time(one.process.pid) - before) / count.requests * 1e6,
            client_share=client_time / elapsed / (len(cores[1]) if cores else 1),
            resumed_share=count.resumed,
        )


def _run(command: list[str], limit: float) -> str:
    """Return what a client prints. Raises Failed when it fails or takes too long."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        raise Failed("requests were not answered in time") from None
    if done.returncode:
        raise Failed(f"the client failed: {(done.stderr.strip().splitlines() or [''])[-1]}")
    return done.stdout


def _children() -> float:
    """Return the processor time of the children that have ended: clients, while servers run."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _last(cells: dict[str, Cell]) -> str:
    return ", ".join(
        f"{name} {cell.samples[-1].requests_per_second:,.0f}/s" if cell.samples else f"{name}: {cell.why}"
        for name, cell in cells.items()
    )
