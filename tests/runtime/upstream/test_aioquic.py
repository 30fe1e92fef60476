"""Of aioquic: what tells whether an answer has arrived, and how many requests there were."""

from __future__ import annotations

from typing import Any

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from hypercorn_image import upstream

from tests.runtime.upstream.serving import HOST, certificate

SERVER, CLIENT = (HOST, 1), (HOST, 2)


def exchange(one: QuicConnection, other: QuicConnection, now: float) -> None:
    """Carry what both have to say, until neither has."""
    while True:
        there = one.datagrams_to_send(now)
        for data, _ in there:
            other.receive_datagram(data, CLIENT, now)
        back = other.datagrams_to_send(now)
        for data, _ in back:
            one.receive_datagram(data, SERVER, now)
        if not there and not back:
            return


@pytest.mark.holds("aioquic-streams")
def test_aioquic_tells_how_many_requests_there_were_and_what_of_an_answer_is_not_there_yet(tmp_path: Any) -> None:
    files = certificate(tmp_path)
    client = QuicConnection(configuration=QuicConfiguration(is_client=True, verify_mode=0))
    client.connect(SERVER, now=0.0)
    configuration = QuicConfiguration(is_client=False)
    configuration.load_cert_chain(files["certfile"], files["keyfile"])
    server = QuicConnection(
        configuration=configuration, original_destination_connection_id=client.original_destination_connection_id
    )
    exchange(client, server, 0.1)
    assert upstream.quic_requests(server) == 0
    stream = client.get_next_available_stream_id()
    client.send_stream_data(stream, b"request", end_stream=True)
    exchange(client, server, 0.2)
    assert upstream.quic_requests(server) == 1
    server.send_stream_data(stream, b"answer", end_stream=True)
    connection = type("Connection", (), {"quic": server, "h3": None})()
    assert upstream.quic_is_busy(connection), "nothing is sent yet"
    exchange(client, server, 0.3)
    exchange(client, server, 1.0)
    assert not upstream.quic_is_busy(connection), "the client has acknowledged it"
