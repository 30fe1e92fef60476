# SPDX-License-Identifier: MIT
"""Closes listening sockets without losing a connection that the kernel has accepted.

When a listening socket is closed, the kernel resets every connection that waits in its queue or is half open. Their
clients may have sent a request already. So a stop takes four steps:

1. The kernel refuses new connections.
2. Half-open connections get a moment to arrive.
3. The parent, which accepts nothing, closes its copy of the socket.
4. Each worker accepts until the queue is empty, and closes its copy in the next instruction.

Linux has no call for step 1. But a socket that is bound to a network interface takes connections from that interface
only, and since Linux 5.7 any user may bind one to an interface that does not exist (SO_BINDTOIFINDEX;
`sock_bindtoindex_locked` in the kernel's net/core/sock.c). Half-open connections still arrive after it. If the kernel
does not allow it, a connection that comes between the last accept and the close is reset.
"""

import array
import os
import select
import socket
import struct
import threading
import time
from typing import Any, Awaitable, Callable, Iterable, List, Sequence, Set

from hypercorn_image.listen.inet import reason

LIMIT = 1.0  # seconds that a queue may take to empty
HALF_OPEN = 0.5  # seconds that half-open connections may take: some round trips
_SO_BINDTOIFINDEX = 62
_NO_INTERFACE = 2**31 - 1
_SYN_RECV = "03"  # include/net/tcp_states.h
_SO_ATTACH_FILTER = 26
# Classic BPF that drops a datagram with one QUIC Initial packet and nothing else, which is how a connection begins. A
# client that answers the server's first packet adds another one. RFC 9000, 17.2.2. Offsets are from the UDP header.
_NO_INITIAL = (
    (0x30, 0, 0, 8),  # A = the first byte
    (0x54, 0, 0, 0xF0),
    (0x15, 3, 0, 0xC0),  # an Initial packet of version 1?
    (0x15, 0, 26, 0xD0),  # or of version 2 (RFC 9369, 3.2), which is something else in version 1? else keep
    (0x20, 0, 0, 9),
    (0x15, 0, 24, 0x6B3343CF),
    (0x30, 0, 0, 13),  # A = length of the destination's connection ID
    (0x07, 0, 0, 0),
    (0x50, 0, 0, 14),  # A = length of the source's
    (0x0C, 0, 0, 0),
    (0x07, 0, 0, 0),
    (0x50, 0, 0, 15),  # A = length of the token
    (0x25, 18, 0, 63),  # is itself longer than one byte? drop: we give no tokens
    (0x0C, 0, 0, 0),
    (0x07, 0, 0, 0),  # X = the three lengths
    (0x50, 0, 0, 16),  # A = first byte of the packet's length, whose upper bits say how long that is
    (0x54, 0, 0, 0xC0),
    (0x15, 0, 4, 0x40),  # two bytes?
    (0x48, 0, 0, 16),
    (0x54, 0, 0, 0x3FFF),
    (0x04, 0, 0, 18),
    (0x05, 0, 0, 4),
    (0x15, 0, 7, 0x80),  # four bytes? else keep: it is too short to begin a connection
    (0x40, 0, 0, 16),
    (0x54, 0, 0, 0x3FFFFFFF),
    (0x04, 0, 0, 20),
    (0x0C, 0, 0, 0),
    (0x07, 0, 0, 0),  # X = where the packet ends
    (0x50, 0, 0, 0),  # A = what follows; with nothing there the kernel drops
    (0x45, 0, 1, 0x80),  # a packet with a long header, and no padding? else drop
    (0x06, 0, 0, 0xFFFFFFFF),  # keep
    (0x06, 0, 0, 0),  # drop
)


def refuse_new(sockets: Iterable[socket.socket]) -> str:
    """Make the kernel refuse new connections to listening TCP `sockets` from now on; return why it does not."""
    refusal = ""
    for sock in sockets:
        if sock.family != socket.AF_UNIX:
            try:
                sock.setsockopt(socket.SOL_SOCKET, _SO_BINDTOIFINDEX, _NO_INTERFACE)
            except OSError as error:
                refusal = reason(error)
    return refusal


def refuse_new_quic(descriptors: Iterable[int]) -> str:
    """Make the kernel drop packets that begin a QUIC connection; return why it does not.

    The client sends them again, and by then another worker may have the socket's place.
    """
    refusal = ""
    for descriptor in descriptors:
        try:
            with socket.socket(fileno=os.dup(descriptor)) as sock:
                attach_program(sock, _SO_ATTACH_FILTER, _NO_INITIAL)
        except OSError as error:
            refusal = reason(error)
    return refusal


def attach_program(sock: socket.socket, option: int, program: Any) -> None:
    """Attach the classic BPF `program` to `sock` by the socket option `option`; raises OSError."""
    code = array.array("B", b"".join(struct.pack("HBBI", *instruction) for instruction in program))
    address, _ = code.buffer_info()
    sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("HP", len(program), address))


def half_open(sockets: Iterable[socket.socket]) -> bool:
    """Tell whether a client is in the middle of connecting to one of the listening TCP `sockets`."""
    ports = {sock.getsockname()[1] for sock in sockets if sock.family != socket.AF_UNIX}
    return bool(ports and ports & (_half_open_ports("/proc/net/tcp") | _half_open_ports("/proc/net/tcp6")))


async def arrived(half_open: Callable[[], bool], seconds: float, sleep: Callable[[float], Awaitable[None]]) -> None:
    """Return when `half_open` returns false, or after `seconds`.

    It is called in a thread, because the kernel takes 10 ms to list a thousand connections.
    """
    limit = time.monotonic() + seconds

    def wait() -> None:
        while half_open() and time.monotonic() < limit:
            time.sleep(0.01)

    thread = threading.Thread(target=wait, daemon=True, name="hypercorn-image-half-open")
    thread.start()
    while thread.is_alive():
        await sleep(0.01)


def _half_open_ports(table: str) -> Set[int]:
    # The columns, https://docs.kernel.org/networking/proc_net_tcp.html: number, local address:port, remote, state.
    try:
        with open(table, encoding="ascii") as file:
            rows = [line.split(None, 4) for line in file]
    except OSError:
        return set()
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == _SYN_RECV}


def waiting(descriptors: Iterable[int]) -> bool:
    """Tell whether a connection waits to be accepted on any of the listening sockets."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    found: List[Any] = poll.poll(0)
    return bool(found)


async def emptied(descriptors: Sequence[int], seconds: float, sleep: Callable[[float], Awaitable[None]]) -> None:
    """Return when no connection waits to be accepted on the listening sockets, or after `seconds`."""
    limit = time.monotonic() + seconds
    await sleep(0)
    while waiting(descriptors) and time.monotonic() < limit:
        await sleep(0.001)


def replace(descriptors: Iterable[int]) -> None:
    """Replace listening sockets whose descriptors are still in use by one that nobody can connect to."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as nobody:
        nobody.bind("")  # an abstract address of the kernel's choice
        nobody.listen(1)
        nobody.setblocking(False)
        for descriptor in descriptors:
            os.dup2(nobody.fileno(), descriptor, inheritable=False)
