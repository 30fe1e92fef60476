"""Closing a listening socket without losing the connections that the kernel has accepted on it.

Closing it resets every connection that waits in its queue, whose client may have sent a request already. So each
process that has the socket goes on accepting until the queue is empty, and closes its copy in the very next
instruction; the parent, which accepts nothing, has closed its own before. Whoever is last leaves an empty queue.

Where the kernel allows it, a filter moreover drops the packets that begin a connection, for those that are on the way
meanwhile: they try again a second later and are refused then. A kernel 6.18 was seen to want CAP_NET_ADMIN for that.
"""

import array
import contextlib
import os
import select
import socket
import struct
from typing import Any, Iterable, List

# The socket filter "drop SYN without ACK", as classic BPF: load byte 13 of the TCP header, keep SYN and ACK, compare.
_PROGRAM = ((0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
_SO_ATTACH_FILTER = 26
LIMIT = 1.0  # seconds a queue may take to empty


def refuse_new(sockets: Iterable[socket.socket]) -> None:
    """Keep new connections out of the queues of listening TCP `sockets`, where the kernel lets us."""
    for sock in sockets:
        if sock.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):
                attach_program(sock, _SO_ATTACH_FILTER, _PROGRAM)


def attach_program(sock: socket.socket, option: int, program: Any) -> None:
    """Attach the classic BPF `program` to `sock` by the socket option `option`; raises OSError."""
    code = array.array("B", b"".join(struct.pack("HBBI", *instruction) for instruction in program))
    address, _ = code.buffer_info()
    sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("HP", len(program), address))


def waiting(descriptors: Iterable[int]) -> bool:
    """Tell whether a connection waits to be accepted on any of the listening sockets."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    found: List[Any] = poll.poll(0)
    return bool(found)


def replace(descriptors: Iterable[int]) -> None:
    """Close listening sockets that someone still uses: one to which nobody can connect takes the place of each."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as nobody:
        nobody.bind("")  # an abstract address of the kernel's choice
        nobody.listen(1)
        nobody.setblocking(False)
        for descriptor in descriptors:
            os.dup2(nobody.fileno(), descriptor, inheritable=False)
