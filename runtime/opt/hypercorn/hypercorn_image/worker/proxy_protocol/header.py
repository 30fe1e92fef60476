# SPDX-License-Identifier: MIT
"""The header of the PROXY protocol, versions 1 and 2: how much of it to read, and what it says. For any event loop.

https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt. What follows the header comes from the client.
Not a byte of it may be read with the header, because TLS begins there.
"""

import re
import socket
import struct
from typing import Awaitable, Callable, NamedTuple, Optional

from hypercorn_image.app.forwarded.addresses import Address, read_ip

SECONDS = 5.0  # that a header may take
SIZE = 4096  # bytes of a header of version 2, most of which are extensions; nginx has the same limit
_SIZE_1 = 107  # bytes of a header of version 1
_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_WORD = b"PROXY "
_FIRST = 16  # bytes of a header of version 2 that are always there
_FORMATS = {0x11: ("!4s4sHH", 12), 0x21: ("!16s16sHH", 36)}  # TCP over IPv4 and over IPv6
_LINE = re.compile(
    rb"PROXY (?:UNKNOWN(?: [^\r\n]*)?|TCP[46] ([0-9a-fA-F.:]+) ([0-9a-fA-F.:]+) (\d{1,5}) (\d{1,5}))\r\n"
)


class Malformed(ValueError):
    """What was received is no header. The text says why."""


class Addresses(NamedTuple):
    """What a header says: the client's address, and the one that it has connected to."""

    client: Address
    server: Address

    @property
    def family(self) -> socket.AddressFamily:
        """The address family of both."""
        return socket.AF_INET6 if ":" in self.client[0] else socket.AF_INET


async def receive(more: Callable[[int], Awaitable[bytes]]) -> Optional[Addresses]:
    """Return what a header says, as `read` does; `more` receives at most so many bytes.

    Raises Malformed, and EOFError at the end of the connection.
    """
    data = b""
    while size := wanted(data):
        received = await more(size)
        if not received:
            raise EOFError
        data += received
    return read(data)


def wanted(data: bytes) -> int:
    """Return how many bytes to read at most after `data`, 0 when the header is complete. Raises Malformed."""
    if not (_SIGNATURE.startswith(data[: len(_SIGNATURE)]) or _WORD.startswith(data[: len(_WORD)])):
        raise Malformed("it does not begin with a PROXY header")
    if len(data) < len(_SIGNATURE):
        return len(_SIGNATURE) - len(data)
    return _wanted_2(data) if data.startswith(_SIGNATURE) else _wanted_1(data)


def _wanted_1(data: bytes) -> int:
    if data.endswith(b"\r\n"):
        return 0
    if len(data) >= _SIZE_1:
        raise Malformed("its PROXY header is too long")
    return 1 if data.endswith(b"\r") else 2  # the end of the line at least


def _wanted_2(data: bytes) -> int:
    if len(data) < _FIRST:
        return _FIRST - len(data)
    size = _FIRST + int.from_bytes(data[_FIRST - 2 : _FIRST], "big")
    if size > SIZE:
        raise Malformed("its PROXY header is too long")
    return size - len(data)


def read(data: bytes) -> Optional[Addresses]:
    """Return what a complete header says; None for the proxy's own connections and without TCP. Raises Malformed."""
    return _read_2(data) if data.startswith(_SIGNATURE) else _read_1(data)


def _read_1(data: bytes) -> Optional[Addresses]:
    found = _LINE.fullmatch(data)
    if found is None:
        raise Malformed("its PROXY header is malformed")
    client, server, client_port, server_port = (part.decode("ascii") if part else "" for part in found.groups())
    if not client:
        return None
    try:
        said = Addresses((str(read_ip(client)), int(client_port)), (str(read_ip(server)), int(server_port)))
    except ValueError:
        raise Malformed("its PROXY header is malformed") from None
    if max(said.client[1], said.server[1]) > 65535:
        raise Malformed("its PROXY header is malformed")
    return said


def _read_2(data: bytes) -> Optional[Addresses]:
    version, command = data[12] >> 4, data[12] & 0xF
    if version != 2 or command > 1:
        raise Malformed("its PROXY header is of an unknown version")
    layout, size = _FORMATS.get(data[13], ("", 0))
    if command == 0 or not layout:
        return None
    if len(data) < _FIRST + size:
        raise Malformed("its PROXY header is malformed")
    client, server, client_port, server_port = struct.unpack_from(layout, data, _FIRST)
    return Addresses((str(read_ip(client)), client_port), (str(read_ip(server)), server_port))
