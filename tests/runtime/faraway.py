"""A client on a slow network, for one connection: its last packet of the TCP handshake comes after the server's stop.

Run as `unshare --net python -m tests.runtime.faraway PYTHON DIRECTORY [NAME=VALUE ...]`, with the server's settings; it
prints the first line of the answer, and the server's exit status. The network is a TUN device whose other end is here,
in user space: nothing leaves the namespace. Needs root.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import struct
import sys
import time
from pathlib import Path

from tests.runtime.server import launch

HERE, THERE = "10.0.0.1", "10.0.0.2"
PORT = 40000
SYN, PUSH, ACK = 0x02, 0x08, 0x10
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x1, 0x1000  # linux/if_tun.h
_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK = 0x8914, 0x8916, 0x891C  # netdevice(7)
_IFF_UP, _IFF_RUNNING = 0x1, 0x40


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def packet(port: int, sequence: int, acknowledged: int, flags: int, data: bytes = b"") -> bytes:
    """Return an IPv4 packet with a TCP segment from THERE to HERE."""
    addresses = socket.inet_aton(THERE) + socket.inet_aton(HERE)
    header = struct.pack("!HHIIBBHHH", PORT, port, sequence, acknowledged, 5 << 4, flags, 65535, 0, 0)
    pseudo = addresses + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(header) + len(data))
    segment = header[:16] + struct.pack("!H", checksum(pseudo + header + data)) + header[18:] + data
    begin = struct.pack("!BBHHHBB", 0x45, 0, 20 + len(segment), 0, 0, 64, socket.IPPROTO_TCP)
    return begin + struct.pack("!H", checksum(begin + b"\0\0" + addresses)) + addresses + segment


class Wire:
    """The TUN device."""

    def __init__(self) -> None:
        self.descriptor = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(self.descriptor, _TUNSETIFF, struct.pack("16sH22x", b"faraway", _IFF_TUN | _IFF_NO_PI))
        self._configure(_SIOCSIFADDR, struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(HERE)))
        self._configure(_SIOCSIFNETMASK, struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton("255.255.255.0")))
        self._configure(_SIOCSIFFLAGS, struct.pack("H", _IFF_UP | _IFF_RUNNING))

    def _configure(self, request: int, value: bytes) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, request, struct.pack("16s24s", b"faraway", value))

    def send(self, *segment: int | bytes) -> None:
        os.write(self.descriptor, packet(*segment))  # type: ignore[arg-type]

    def receive(self) -> tuple[int, int, bytes]:
        """Return the next TCP segment: sequence number, flags, data. Raises TimeoutError after five seconds."""
        deadline = time.monotonic() + 5
        while select.select([self.descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
            received = os.read(self.descriptor, 65535)
            if received[0] >> 4 == 4 and received[9] == socket.IPPROTO_TCP:
                segment = received[(received[0] & 15) * 4 :]
                return struct.unpack("!I", segment[4:8])[0], segment[13], segment[(segment[12] >> 4) * 4 :]
        raise TimeoutError("no segment from the server")


def main(python: str, directory: str, *settings: str) -> None:
    """Connect by half, have the server stop, connect wholly and ask."""
    environ = {"HOST": HERE, **dict(one.split("=", 1) for one in settings)}
    wire = Wire()
    with launch(python, Path(directory), environ=environ) as server:
        _, port = server.serving().address
        wire.send(port, 1000, 0, SYN)
        sequence, flags, _ = wire.receive()
        assert flags == SYN | ACK
        server.kill(signal.SIGTERM)
        time.sleep(0.2)  # the network's, not a wait: this is how far away the client is
        wire.send(port, 1001, sequence + 1, ACK | PUSH, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        data = b""
        while not data:
            _, flags, data = wire.receive()
            if flags & 0x04:
                raise ConnectionResetError
        print(data.split(b"\r\n")[0].decode(), server.wait())


if __name__ == "__main__":
    main(*sys.argv[1:])
