"""A WebSocket over HTTP/2 (RFC 8441), as a client: h2 for the frames, wsproto for the messages."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable

import h2.config
import h2.connection
import h2.events
from wsproto.connection import Connection as Messages
from wsproto.connection import ConnectionType
from wsproto.events import CloseConnection, Message, TextMessage

from tests.runtime.server import LIMIT, connect, wait_for


class Connection:
    """One connection: a WebSocket on stream 1, and requests beside it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.messages = Messages(ConnectionType.CLIENT)
        self.received: list[str] = []
        self.whole: set[int] = set()
        self.closed_with: int | None = None
        self.answer: dict[bytes, bytes] = {}
        self.accepted = self.ended = self._extended = False
        self.http.initiate_connection()

    def open_websocket(self, more: Iterable[tuple[str, str]] = ()) -> None:
        """Open the WebSocket, with `more` headers, once the server can, and wait until it is accepted."""
        self.ask_for_websocket(more)
        self.run_until(lambda: self.accepted)

    def ask_for_websocket(self, more: Iterable[tuple[str, str]] = ()) -> None:
        """Ask for the WebSocket, once the server can; `answer` will be the headers of the answer."""
        self.run_until(lambda: self._extended)
        self.http.send_headers(1, [*_HEADERS, *more])

    def say(self, text: str) -> None:
        """Send a text."""
        self.http.send_data(1, self.messages.send(TextMessage(data=text)))

    def get(self, path: str) -> int:
        """Send `GET path` and return the stream's number; it is in `whole` once the answer has arrived."""
        stream = self.http.get_next_available_stream_id()
        headers = [(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", path)]
        self.http.send_headers(stream, headers, end_stream=True)
        return stream

    def run_until(self, condition: Callable[[], bool]) -> None:
        """Send and receive until `condition` is true."""

        def probe() -> bool:
            self._exchange()
            return condition()

        wait_for(probe, "answer")

    def _exchange(self) -> None:
        self.sock.sendall(self.http.data_to_send())
        self.sock.settimeout(0.05)
        try:
            data = self.sock.recv(65536)
        except TimeoutError:
            return
        finally:
            self.sock.settimeout(LIMIT)
        self.ended = not data
        for event in self.http.receive_data(data) if data else []:
            self._handle(event)

    def _handle(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RemoteSettingsChanged):
            self._extended = True
        elif isinstance(event, h2.events.ResponseReceived) and event.stream_id == 1:
            self.answer = {bytes(name): bytes(value) for name, value in event.headers or []}
            self.accepted = self.answer[b":status"] == b"200"
        elif isinstance(event, h2.events.StreamEnded) and event.stream_id != 1:
            assert event.stream_id is not None
            self.whole.add(event.stream_id)
        elif isinstance(event, h2.events.DataReceived) and event.stream_id == 1 and event.data:
            self.messages.receive_data(event.data)
            for message in self.messages.events():
                if isinstance(message, Message):
                    self.received.append(str(message.data))
                elif isinstance(message, CloseConnection):
                    self.closed_with = message.code
                    self.http.send_data(1, self.messages.send(message.response()), end_stream=True)


def talk(address: tuple[str, int], text: str) -> str:
    """Open a WebSocket on a connection of its own, send `text` and return the answer."""
    with connect(address) as sock:
        client = Connection(sock)
        client.open_websocket()
        client.say(text)
        client.run_until(lambda: bool(client.received))
        return client.received[0]


_HEADERS = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "localhost"),
    ("sec-websocket-version", "13"),
]
