"""HTTP/2's good-bye, frame by frame: what a client that reads on after a GOAWAY is told (RFC 9113, 6.8)."""

from __future__ import annotations

import signal
import socket
import time
from typing import TypeVar

import pytest
from h2.errors import ErrorCodes
from hpack import Encoder
from hyperframe.frame import (
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.runtime.launching import Launch, every_class
from tests.runtime.server import connect

Kind = TypeVar("Kind", bound=Frame)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NO_LAST_STREAM = 2**31 - 1
ORDINARY = {SettingsFrame.MAX_CONCURRENT_STREAMS: 100}
OF_H2 = {**ORDINARY, SettingsFrame.HEADER_TABLE_SIZE: 4096, SettingsFrame.MAX_FRAME_SIZE: 16384}


class Client:
    """Sends and reads frames. Nothing is answered by itself, pings neither.

    With the `settings` that h2 says at first it is taken for a client made with h2.
    """

    def __init__(self, address: tuple[str, int], settings: dict[int, int] = ORDINARY) -> None:
        self.sock: socket.socket = connect(address)
        self._encoder, self._buffer, self.stream = Encoder(), b"", -1
        window = WindowUpdateFrame(0, window_increment=2**30)
        self.sock.sendall(PREFACE + SettingsFrame(settings=settings).serialize() + window.serialize())

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def ask(self, path: str) -> int:
        """Send a request and return its stream."""
        self.stream += 2
        headers = [(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", path)]
        frame = HeadersFrame(self.stream, data=self._encoder.encode(headers), flags=["END_HEADERS", "END_STREAM"])
        self.sock.sendall(frame.serialize())
        return self.stream

    def read(self) -> Frame:
        """Return the next frame; raises EOFError at the end of the connection."""
        head = self._take(9)
        frame, length = Frame.parse_frame_header(memoryview(head))
        frame.parse_body(memoryview(self._take(length)))
        return frame

    def until(self, kind: type[Kind]) -> Kind:
        """Read until a frame of this kind, and return it."""
        frame = self.read()
        while not isinstance(frame, kind):
            frame = self.read()
        return frame

    def hear(self, ping: PingFrame) -> None:
        """Answer a ping."""
        self.sock.sendall(PingFrame(0, opaque_data=ping.opaque_data, flags=["ACK"]).serialize())

    def _take(self, length: int) -> bytes:
        while len(self._buffer) < length:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self._buffer += data
        taken, self._buffer = self._buffer[:length], self._buffer[length:]
        return taken

    def answer(self, stream: int) -> list[Frame]:
        """Read until a stream has ended or was reset, or a GOAWAY has come; return what was read."""
        read = [self.read()]
        while not (isinstance(read[-1], GoAwayFrame) or (read[-1].stream_id == stream and ends(read[-1]))):
            read.append(self.read())
        return read


def ends(frame: Frame) -> bool:
    return isinstance(frame, RstStreamFrame) or "END_STREAM" in frame.flags


@every_class
def test_a_client_with_several_requests_hears_an_announcement_a_ping_and_the_last_stream(
    server: Launch, worker_class: str
) -> None:
    with server(WORKER_CLASS=worker_class, WEB_CONCURRENCY=1, GRACEFUL_TIMEOUT=60) as one:
        one.serving()
        with Client(one.address) as client:
            for _ in range(2):
                client.ask("/slow?seconds=60")  # no moment is quiet
            one.wait_events("slow", 2)
            one.kill(signal.SIGHUP)
            one.wait_log("Reload complete")
            read = client.answer(client.ask("/"))
            while not isinstance(read[-1], GoAwayFrame):
                assert any(isinstance(frame, HeadersFrame) for frame in read), "served until it is announced"
                read = client.answer(client.ask("/"))
            assert read[-1].last_stream_id == NO_LAST_STREAM, "an announcement names no last stream"
            client.hear(next(frame for frame in read if isinstance(frame, PingFrame)))
            final = client.answer(0)[-1]
            assert isinstance(final, GoAwayFrame)
            assert final.last_stream_id == client.stream, "all that was sent before it was heard is served"
            late = client.ask("/")
            (reset,) = [frame for frame in client.answer(late) if frame.stream_id == late]
            assert isinstance(reset, RstStreamFrame)
            assert reset.error_code == ErrorCodes.REFUSED_STREAM, "it may be sent again"
        one.kill(signal.SIGQUIT)
        assert one.wait() == 0


@every_class
def test_a_connection_is_not_closed_before_its_client_has_read_the_last_answer(
    server: Launch, worker_class: str
) -> None:
    with server(WORKER_CLASS=worker_class, WEB_CONCURRENCY=1) as one:
        one.serving()
        with Client(one.address) as client:
            last = client.ask("/slow?seconds=3")
            one.wait_events("slow", 1)
            one.kill(signal.SIGTERM)
            for final in (False, True):
                read = client.answer(client.ask("/"))
                while not isinstance(read[-1], GoAwayFrame):
                    read = client.answer(client.ask("/"))
                assert (read[-1].last_stream_id < NO_LAST_STREAM) == final
                client.hear(next(frame for frame in read if isinstance(frame, PingFrame)))
            while not (ends(frame := client.read()) and frame.stream_id == last):
                pass
            client.hear(client.until(PingFrame))
            with pytest.raises(EOFError):
                client.read()
        assert one.wait() == 0


@every_class
def test_a_client_that_has_made_one_request_so_far_may_send_many_until_it_has_heard(
    server: Launch, worker_class: str
) -> None:
    """As curl does, whose first request finds out whether the connection takes several."""
    with server(WORKER_CLASS=worker_class, WEB_CONCURRENCY=1) as one:
        one.serving()
        with Client(one.address) as client:
            client.answer(client.ask("/"))
            one.kill(signal.SIGHUP)
            assert client.until(GoAwayFrame).last_stream_id == NO_LAST_STREAM
            streams = {client.ask("/") for _ in range(20)}
            while streams:
                frame = client.read()
                assert not isinstance(frame, RstStreamFrame)
                streams -= {frame.stream_id} if ends(frame) else set()


@every_class
def test_a_client_made_with_h2_has_something_to_read_while_it_is_busy(server: Launch, worker_class: str) -> None:
    """Its requests take turns to read: the last uploads would wait for ever (httpcore, _wait_for_outgoing_flow)."""
    with server(WORKER_CLASS=worker_class, WEB_CONCURRENCY=1, GRACEFUL_TIMEOUT=60) as one:
        one.serving()
        with Client(one.address, OF_H2) as client:
            for _ in range(2):
                client.ask("/slow?seconds=60")
            one.wait_events("slow", 2)
            one.kill(signal.SIGHUP)
            read = [client.read()]
            while sum(isinstance(frame, PingFrame) for frame in read) < 3:
                read.append(client.read())
            assert not any(isinstance(frame, GoAwayFrame) for frame in read), "it could not read on after it"
        one.kill(signal.SIGQUIT)
        assert one.wait() == 0


@every_class
def test_a_client_made_with_h2_that_is_slow_hears_good_bye_after_all_of_its_turns(
    server: Launch, worker_class: str
) -> None:
    """The server waited 3 s for the answer to a ping, and ended with requests held."""
    with server(WORKER_CLASS=worker_class, WEB_CONCURRENCY=1) as one:
        one.serving()
        with Client(one.address, OF_H2) as client:
            last = [client.ask("/slow?seconds=1") for _ in range(2)][-1]
            one.wait_events("slow", 2)
            one.kill(signal.SIGTERM)
            time.sleep(0.5)  # more than QUIET
            held = client.ask("/")
            read, slow = [client.read()], True
            while not isinstance(read[-1], GoAwayFrame):
                if isinstance(read[-1], PingFrame):
                    if slow and any(ends(frame) and frame.stream_id == last for frame in read):
                        time.sleep(4)  # a busy machine; the server waits 10 s
                        slow = False
                    client.hear(read[-1])
                read.append(client.read())
            assert read[-1].last_stream_id == last < held
        assert one.wait() == 0
