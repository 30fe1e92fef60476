# SPDX-License-Identifier: MIT
"""The bytes of an answer: made here if h11 would send the same, else by h11 itself."""

from typing import Optional

import h11

from hypercorn_image.worker.http1.head import NAME, VALUE, Head, Headers

_FRAMING = frozenset((b"transfer-encoding", b"connection", b"host"))  # h11 rewrites or reorders them


class Plain:
    """An answer with a length or in chunks, with the bytes that h11 would send."""

    def __init__(self, head: bytes, length: Optional[int], reusable: bool) -> None:
        self.head, self.reusable = head, reusable
        self._left = length  # below zero once it has failed

    def body(self, data: bytes) -> bytes:
        """Return the bytes of a piece of the body. Raises LocalProtocolError, as h11 does."""
        if self._left is None:
            return b"%x\r\n%b\r\n" % (len(data), data)
        self._left -= len(data)
        if self._left < 0:
            raise h11.LocalProtocolError("Too much data for declared Content-Length")
        return data

    def end(self) -> bytes:
        """Return the bytes of the end. Raises LocalProtocolError, as h11 does."""
        if self._left is None:
            return b"0\r\n\r\n"
        if self._left:
            self._left = -1
            raise h11.LocalProtocolError("Too little data for declared Content-Length")
        return b""


def plain_answer(head: Head, status: int, headers: Headers, common: bytes) -> Optional[Plain]:
    """Return the answer; None if h11 would refuse or rewrite one of `headers`."""
    if not 200 <= status < 600 or status in (204, 304) or head.method == "HEAD":
        return None
    length: Optional[int] = None
    for name, value in headers:
        if not NAME.fullmatch(name) or not VALUE.fullmatch(value):
            return None
        lower = name.lower()
        if lower in _FRAMING:
            return None
        if lower == b"content-length":
            if length is not None or not value.isdigit() or len(value) > 18:
                return None
            length = int(value)
    parts = [b"HTTP/1.1 %d \r\n" % status, lines_of(headers), common]
    if length is None:
        parts.append(b"Transfer-Encoding: chunked\r\n")
    if not head.keep_alive:
        parts.append(b"Connection: close\r\n")
    return Plain(b"".join([*parts, b"\r\n"]), length, head.keep_alive)


class ByH11:
    """Any other answer: h11 itself makes its bytes, or says why it cannot."""

    def __init__(self, request: bytes) -> None:
        self._h11 = h11.Connection(h11.SERVER)
        self._h11.receive_data(request)
        self._h11.next_event()

    def begin(self, status: int, headers: Headers) -> None:
        """Make the head."""
        kind = h11.Response if status >= 200 else h11.InformationalResponse
        self.head = self._h11.send(kind(status_code=status, headers=headers)) or b""

    @property
    def reusable(self) -> bool:
        """Whether the answer leaves the connection open."""
        return self._h11.our_state is h11.DONE

    def body(self, data: bytes) -> bytes:
        """Return the bytes of a piece of the body."""
        return self._h11.send(h11.Data(data=data)) or b""

    def end(self) -> bytes:
        """Return the bytes of the end."""
        return self._h11.send(h11.EndOfMessage()) or b""


def lines_of(headers: Headers) -> bytes:
    """Return headers as they are sent."""
    return b"".join([b"%b: %b\r\n" % pair for pair in headers])
