"""A WebSocket over HTTP/2 (RFC 8441), as a client: h2 for the frames, wsproto for the messages."""

from __future__ import annotations

import h2.config
import h2.connection
import h2.events
from wsproto.connection import Connection, ConnectionType
from wsproto.events import Message, TextMessage

from tests.runtime.server import connect


def talk(address: tuple[str, int], text: str) -> str:
    """Open a WebSocket by CONNECT on a connection of its own, send `text` and return the answer."""
    http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    messages = Connection(ConnectionType.CLIENT)
    with connect(address) as sock:
        http.initiate_connection()
        sock.sendall(http.data_to_send())
        asked = False
        while True:
            for event in http.receive_data(sock.recv(65536)):
                if isinstance(event, h2.events.RemoteSettingsChanged) and not asked:
                    asked = True
                    http.send_headers(1, _HEADERS)
                elif isinstance(event, h2.events.ResponseReceived):
                    assert dict(event.headers)[b":status"] == b"200"
                    http.send_data(1, messages.send(TextMessage(data=text)))
                elif isinstance(event, h2.events.DataReceived):
                    messages.receive_data(event.data)
                    for message in messages.events():
                        if isinstance(message, Message):
                            return str(message.data)
            sock.sendall(http.data_to_send())


_HEADERS = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "localhost"),
    ("sec-websocket-version", "13"),
]
