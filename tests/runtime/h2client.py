"""A small HTTP/2 client that takes what it is sent, also behind a GOAWAY, where httpx gives up (httpcore, http2.py)."""

from __future__ import annotations

import socket

import h2.config
import h2.connection
import h2.events

from tests.runtime.server import connect, unverified_tls

AT_ONCE = 50


def fetch_all(address: tuple[str, int], paths: list[str], tls: bool = False) -> list[int | None]:
    """Get all `paths` over one connection and return the size of each answer, None for one that is not whole."""
    sock = connect(address)
    if tls:
        context = unverified_tls()
        context.set_alpn_protocols(["h2"])
        sock = context.wrap_socket(sock)
    with sock:
        return _Fetch(sock, paths).run()


class _Fetch:
    def __init__(self, sock: socket.socket, paths: list[str]) -> None:
        self.sock, self.paths = sock, paths
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.sizes: dict[int, int] = {}
        self.whole: set[int] = set()

    def run(self) -> list[int | None]:
        self.http.initiate_connection()
        self.http.increment_flow_control_window(2**24)
        ended = False
        while len(self.whole) < len(self.paths) and not ended:
            self._ask()
            self.sock.sendall(self.http.data_to_send())
            data = self.sock.recv(65536)
            for event in self.http.receive_data(data) if data else []:
                self._handle(event)
            ended = not data
        return [self.sizes[1 + 2 * n] if 1 + 2 * n in self.whole else None for n in range(len(self.paths))]

    def _ask(self) -> None:
        while len(self.sizes) < len(self.paths) and len(self.sizes) - len(self.whole) < AT_ONCE:
            stream = 1 + 2 * len(self.sizes)
            path = self.paths[len(self.sizes)]
            headers = [(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", path)]
            self.http.send_headers(stream, headers, end_stream=True)
            self.sizes[stream] = 0

    def _handle(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.DataReceived):
            assert event.stream_id is not None and event.data is not None
            self.sizes[event.stream_id] += len(event.data)
            if event.flow_controlled_length:
                self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            assert event.stream_id is not None
            self.whole.add(event.stream_id)
