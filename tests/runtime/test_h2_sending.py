"""What an HTTP/2 client gets from the runtime is what it gets from plain Hypercorn, in fewer writes."""

from __future__ import annotations

import asyncio
import socket
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import hypercorn.protocol
import pytest
from h2.settings import SettingCodes
from hypercorn_image.worker.h2 import Farewell

from tests.runtime.http1.application import ANSWERS, HEADERS
from tests.runtime.http1.both import Side, serving

PATHS = [
    *[f"/{name}" for name in ANSWERS if name not in ("status", "emptystatus", "headers")],
    *[f"/{name}/{status}" for name in ("status", "emptystatus") for status in (200, 204, 304, 404, 500)],
    *[f"/headers/{name}" for name in HEADERS],
]
NEVER_ENDED = {"/startalone", "/starttwice", "/raiseslate", "/trailers", "/bodyfirst"}
"""What the application leaves open, and so Hypercorn the stream: the client waits for one that is answered whole."""


@dataclass
class Answer:
    """What came on a stream."""

    headers: list[Any] = field(default_factory=list)
    body: bytes = b""
    end: str = ""


@dataclass
class Client:
    """A client with a window of its own, which reads what comes in pieces of `piece` bytes."""

    sock: socket.socket
    window: int = 65535
    piece: int = 65536
    answers: dict[int, Answer] = field(default_factory=lambda: defaultdict(Answer))

    def __post_init__(self) -> None:
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
        settings = {SettingCodes.INITIAL_WINDOW_SIZE: self.window}
        self.http.local_settings = h2.settings.Settings(client=True, initial_values=settings)
        self.http.initiate_connection()
        self.sock.settimeout(30)

    def ask(self, path: str, method: str = "GET", body: bytes = b"") -> int:
        """Begin a request and return its stream."""
        stream = self.http.get_next_available_stream_id()
        headers = [(":method", method), (":scheme", "http"), (":authority", "test"), (":path", path)]
        self.http.send_headers(stream, headers, end_stream=not body)
        if body:
            self.http.send_data(stream, body, end_stream=True)
        return stream

    def read(self) -> None:
        """Send what there is and read once."""
        self.sock.sendall(self.http.data_to_send())
        data = self.sock.recv(self.piece)
        assert data, "the server has closed the connection"
        for event in self.http.receive_data(data):
            self._note(event)

    def read_until_ended(self, *streams: int) -> list[Answer]:
        """Read until these streams have ended, and return what came on them.

        Where h2 takes an answer for wrong, only what it says of it: what it has read before is lost.
        """
        try:
            while not all(self.answers[stream].end for stream in streams):
                self.read()
        except h2.exceptions.ProtocolError as error:
            wrong = Answer(end=str(error))
            self.answers = defaultdict(lambda: wrong)
        return [self.answers[stream] for stream in streams]

    def _note(self, event: Any) -> None:
        answer = self.answers[getattr(event, "stream_id", None) or 0]
        if isinstance(event, h2.events.ResponseReceived):
            answer.headers += [(name, value) for name, value in event.headers if name != b"date"]
        elif isinstance(event, h2.events.TrailersReceived):
            answer.headers += ["trailers", *event.headers]
        elif isinstance(event, h2.events.DataReceived):
            answer.body += event.data
            self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            answer.end = "ended"
        elif isinstance(event, h2.events.StreamReset):
            answer.end = f"reset {event.error_code}"


@pytest.fixture(params=["asyncio", "uvloop"])
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    with serving(False, request.param) as made:
        yield made


def connect(side: Side, **options: int) -> Client:
    sock = socket.create_connection(side.address)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Client(sock, **options)


def one_after_another(side: Side) -> list[Any]:
    """Ask for each path with each method; what never ends is followed by one that does."""
    found: list[Any] = []
    for path in PATHS:
        for method, body in (("GET", b""), ("HEAD", b""), ("POST", b"x" * 3000)):
            client = connect(side)
            with client.sock:
                stream = client.ask(path, method, body)
                last = client.ask("/echo") if path in NEVER_ENDED else stream
                client.read_until_ended(last)
                found.append((path, method, client.answers[stream], client.answers[last]))
    return found


def at_once(side: Side) -> list[Any]:
    """Ask for many at once, with windows and reads of several sizes."""
    found: list[Any] = []
    for window, piece in ((65535, 65536), (1000, 65536), (65535, 1000), (2**20, 65536)):
        client = connect(side, window=window, piece=piece)
        with client.sock:
            paths = ["/big", "/chunks", "/slowly", "/echo", "/emptystatus/204", "/headers/date", "/early", "/more"]
            streams = [client.ask(path) for path in paths for _ in range(3)]
            found.append(client.read_until_ended(*streams))
    return found


def reset_and_gone(side: Side) -> list[Any]:
    """Reset a stream in the middle of its answer, and leave another connection: the others are answered."""
    client, other = connect(side), connect(side)
    with client.sock:
        big, chunks = client.ask("/big"), client.ask("/chunks")
        while not client.answers[big].body:
            client.read()
        client.http.reset_stream(big)
        found = client.read_until_ended(chunks)
        found += client.read_until_ended(client.ask("/echo", "POST", b"after"))
    with other.sock:
        other.ask("/big")
        other.read()
    return found


@pytest.mark.parametrize("talk", [one_after_another, at_once, reset_and_gone])
def test_a_client_gets_what_plain_hypercorn_sends(talk: Any, side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = talk(side)
    monkeypatch.setattr(hypercorn.protocol, "H2Protocol", hypercorn.protocol.H2Protocol)  # put back at the end
    Farewell().install()
    ours = talk(side)
    assert ours == plain


def test_headers_body_and_end_of_an_answer_do_not_take_a_write_each(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hypercorn.protocol, "H2Protocol", hypercorn.protocol.H2Protocol)
    Farewell().install()
    client, writes, write = connect(side), list[bytes](), asyncio.StreamWriter.write
    with client.sock:
        client.read_until_ended(client.ask("/early"))  # and the settings of both
        monkeypatch.setattr(
            asyncio.StreamWriter, "write", lambda self, data: (writes.append(data), write(self, data))[1]
        )
        client.read_until_ended(client.ask("/early"))
    assert len(writes) < 3  # one, or two where the server ends its reading between headers and body


def test_headers_do_not_wait_for_a_body_that_comes_later(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hypercorn.protocol, "H2Protocol", hypercorn.protocol.H2Protocol)
    Farewell().install()
    client = connect(side)
    with client.sock:
        stream = client.ask("/startalone")
        while not client.answers[stream].headers:
            client.read()
