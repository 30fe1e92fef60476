"""Clients that count: each request sent is answered, may be sent again by the RFC, or is lost; and by which worker."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from aioquic.asyncio.client import connect as quic_connect
from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import QuicConfiguration

from tests.runtime import h3
from tests.runtime.server import LIMIT

IDLE = 0.4  # seconds; a little less than what `serving.SETTLE` leaves to idle connections
AT_ONCE = 3  # requests on one connection of HTTP/2 or HTTP/3
REST = 0.02  # seconds between a client's requests: the processor is for the server
Address = tuple[str, int] | str


class Again(Exception):
    """The server says that it has not looked at the request: it may be sent again."""


class Loss(NamedTuple):
    """A request that was not answered, on the client's connection of that `number`.

    `pid` is 0 where the connection had not had an answer yet.
    """

    client: str
    number: int
    pid: int
    why: str


@dataclass
class Counts:
    """What became of all requests."""

    sent: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    lost: list[Loss] = field(default_factory=list)


class Connection:
    """One connection. `pid` is the worker's that has it, as soon as an answer has said so."""

    pid = 0
    usable = True
    at_once = 1

    async def get(self, path: str) -> bytes:
        raise NotImplementedError

    async def close(self) -> None:
        """Close it."""

    def worker_died(self) -> None:
        """Whoever waits need not wait for a time to pass. Over TCP, the kernel says it."""


async def open_stream(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(address, tuple):
        return await asyncio.open_connection(*address)
    return await asyncio.open_unix_connection(address)


class Http1(Connection):
    """HTTP/1.1, one request after another.

    A server that stops closes what is idle. On a busy machine this client can be held up for so long that its
    connection is: then it may send the request again (RFC 9112, 9.5).
    """

    def __init__(self, since: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._since, self._reader, self._writer = since, reader, writer  # it has not been idle before

    @classmethod
    async def open(cls, address: Address) -> Http1:
        return cls(time.monotonic(), *await open_stream(address))

    async def get(self, path: str) -> bytes:
        self._writer.write(f"GET {path} HTTP/1.1\r\nhost: test\r\n\r\n".encode())
        before, self._since = self._since, time.monotonic()
        try:
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        except (asyncio.IncompleteReadError, OSError):
            self.usable = False
            if self._since - before > IDLE:
                raise Again from None
            raise
        assert head.startswith("http/1.1 200"), head
        self.usable = "connection: close" not in head
        return await self._reader.readexactly(int(head.partition("content-length:")[2].split()[0]))

    async def close(self) -> None:
        self._writer.close()


class TakesAnswersAfterGoaway(h2.connection.H2Connection):
    """h2 would take nothing more, not even of the same read; but answers still come (RFC 9113, 6.8)."""

    def _receive_goaway_frame(self, frame: Any) -> Any:
        found = super()._receive_goaway_frame(frame)
        self.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
        return found


class Http2(Connection):
    """HTTP/2 with prior knowledge. Like most clients it begins nothing new once it was told GOAWAY."""

    at_once = AT_ONCE

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = TakesAnswersAfterGoaway(h2.config.H2Configuration(client_side=True))
        self._http.initiate_connection()
        self._flush()
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._bodies: dict[int, bytes] = {}
        self._task = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, address: Address) -> Http2:
        return cls(*await open_stream(address))

    def _flush(self) -> None:
        self._writer.write(self._http.data_to_send())

    async def get(self, path: str) -> bytes:
        if not self.usable:  # told so since the caller looked
            raise Again
        stream = self._http.get_next_available_stream_id()
        headers = [(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", path)]
        future = self._waiting[stream] = asyncio.get_running_loop().create_future()
        self._bodies[stream] = b""
        self._http.send_headers(stream, headers, end_stream=True)
        self._flush()
        return await future

    async def _read(self) -> None:
        why: Exception = ConnectionError("the connection ended")
        try:
            while data := await self._reader.read(65536):
                for event in self._http.receive_data(data):
                    self._handle(event)
                self._flush()
        except (OSError, h2.exceptions.ProtocolError) as error:
            why = ConnectionError(repr(error))
        self.usable = False
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(why)

    def _handle(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self.usable = False
            for stream in self._waiting:
                if stream > (event.last_stream_id or 0):
                    self._end(stream, Again())
        elif isinstance(event, h2.events.StreamReset):
            refused = event.error_code == h2.errors.ErrorCodes.REFUSED_STREAM
            self._end(event.stream_id, Again() if refused else ConnectionError(f"reset, {event.error_code!r}"))
        elif isinstance(event, h2.events.DataReceived):
            self._bodies[event.stream_id] += event.data or b""
            if event.flow_controlled_length and self.usable:
                self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self._end(event.stream_id, None)

    def _end(self, stream: int | None, error: Exception | None) -> None:
        future = self._waiting.get(stream or 0)
        if future is None or future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(self._bodies[stream or 0])

    async def close(self) -> None:
        self._task.cancel()
        self._writer.close()


class Http3(Connection):
    """HTTP/3."""

    at_once = AT_ONCE

    def __init__(self, stack: contextlib.AsyncExitStack, protocol: h3.Client) -> None:
        self._stack, self._protocol = stack, protocol

    @classmethod
    async def open(cls, address: Address) -> Http3:
        assert isinstance(address, tuple)
        configuration = QuicConfiguration(alpn_protocols=H3_ALPN, is_client=True, verify_mode=ssl.CERT_NONE)
        stack = contextlib.AsyncExitStack()
        made = quic_connect(*address, configuration=configuration, create_protocol=h3.Client)
        return cls(stack, await stack.enter_async_context(made))  # type: ignore[arg-type]

    async def get(self, path: str) -> bytes:
        if not self.usable:  # its worker was killed since the caller looked
            raise Again
        try:
            status, body = await self._protocol.get(path)
        except h3.Rejected:
            raise Again from None
        finally:
            if self._protocol.terminated.done() or self._protocol.first_unserved:
                self.usable = False
        assert status == 200, status
        return body

    def worker_died(self) -> None:
        self.usable = False
        for future, _ in self._protocol.answers.values():
            if not future.done():
                future.set_exception(ConnectionError("its worker was killed"))

    async def close(self) -> None:
        self._protocol.close()
        self._protocol._transport.close()  # type: ignore[attr-defined]  # nobody waits for the other end


class Client:
    """Sends requests on one connection after another until told to stop."""

    def __init__(
        self, name: str, kind: type[Any], address: Address, counts: Counts, per_connection: int = 10**9
    ) -> None:
        self.name, self.counts = name, counts
        self._kind, self._address, self._per_connection = kind, address, per_connection
        self.connection: Connection | None = None  # None while it is being opened
        self._opening: asyncio.Future[Any] | None = None
        self.number = 0  # of the connection, from 1 on
        self.over = asyncio.Event()

    def may_be_at(self, pid: int) -> bool:
        """Tell whether a worker has the connection, or may have it since no answer has said whose it is."""
        return self.connection is None or self.connection.pid in (0, pid)

    def worker_died(self, pid: int) -> None:
        """Wait for nothing that the worker had. Over QUIC a connection that it had begun would time out."""
        if self.connection is not None:
            if self.may_be_at(pid):
                self.connection.worker_died()
        elif self._opening is not None and not self._opening.done():
            self._opening.cancel()
        elif self._opening is not None and not self._opening.cancelled() and not self._opening.exception():
            self._opening.result().worker_died()  # it was opened this moment

    async def run(self, path: Callable[[], str]) -> None:
        while not self.over.is_set():
            self.number, self.connection = self.number + 1, None
            self.connection = await self._open()
            if self.connection is None:
                self.counts.refused[self.name] += 1
                await asyncio.sleep(0.01)
                continue
            with contextlib.suppress(Exception):
                for _ in range(self._per_connection):
                    if not self.connection.usable or self.over.is_set():
                        break
                    asks = [self._ask(self.connection, path()) for _ in range(self.connection.at_once)]
                    await asyncio.gather(*asks)
                    await asyncio.sleep(REST)
            await self.connection.close()

    async def _open(self) -> Any:
        """Return a connection, or None where it is refused, a worker died, or all is over."""
        opening = self._opening = asyncio.ensure_future(self._kind.open(self._address))
        over = asyncio.ensure_future(self.over.wait())
        await asyncio.wait({opening, over}, return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        opening.cancel()
        try:
            return await opening
        except (OSError, asyncio.CancelledError):
            return None

    async def _ask(self, connection: Connection, path: str) -> None:
        self.counts.sent[self.name] += 1
        try:
            body = await asyncio.wait_for(connection.get(path), LIMIT)
        except Again:
            self.counts.again[self.name] += 1
        except Exception as error:
            self.counts.lost.append(Loss(self.name, self.number, connection.pid, repr(error)))
            connection.usable = False
        else:
            self.counts.answered[self.name] += 1
            connection.pid = json.loads(body)["pid"]


def every_client(addresses: dict[str, Address], counts: Counts) -> list[Client]:
    """Return a client for each protocol and family. `addresses` are those of plain TCP, unix sockets and QUIC."""
    found = []
    for (name, address), kind in itertools.product(addresses.items(), (Http1, Http2, Http3)):
        if (kind is Http3) == name.startswith("quic"):
            found.append(Client(f"{kind.__name__} {name}", kind, address, counts))
        if kind is Http1 and not name.startswith("quic"):
            found.append(Client(f"{kind.__name__} new {name}", kind, address, counts, per_connection=1))
    return found


def free_ports(kind: socket.SocketKind, count: int) -> list[int]:
    """Return ports that nobody has."""
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(socket.socket(socket.AF_INET6, kind)) for _ in range(count)]
        for one in made:
            one.bind(("::", 0))
        return [int(one.getsockname()[1]) for one in made]
