"""Closing a listening socket without losing the connections that the kernel has accepted on it.

Closing it resets every connection that waits in its queue, whose client may have sent a request already. So new ones
are kept out first, by a filter that drops only the packets that begin a connection; the queue then empties; then it
closes. A client that knocks meanwhile tries again a second later, and is refused then as it should be.
"""

import array
import contextlib
import select
import socket
import struct
from typing import Any, Iterable, List

# The socket filter "drop SYN without ACK", as classic BPF: load byte 13 of the TCP header, keep SYN and ACK, compare.
_PROGRAM = ((0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
_SO_ATTACH_FILTER = 26
LIMIT = 1.0  # seconds a queue may take to empty: workers that are busy for longer do not accept


def refuse_new(sockets: Iterable[socket.socket]) -> None:
    """Keep new connections out of the queues of listening TCP `sockets`.

    Needs no privilege. Where the kernel has no such filter (gVisor) nothing changes, and the queue is merely likely to
    be empty at the end.
    """
    for sock in sockets:
        if sock.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):
                attach_program(sock, _SO_ATTACH_FILTER, _PROGRAM)


def attach_program(sock: socket.socket, option: int, program: Any) -> None:
    """Attach the classic BPF `program` to `sock` by the socket option `option`; raises OSError."""
    code = array.array("B", b"".join(struct.pack("HBBI", *instruction) for instruction in program))
    address, _ = code.buffer_info()
    sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("HP", len(program), address))


def waiting(sockets: Iterable[socket.socket]) -> bool:
    """Tell whether a connection waits to be accepted on any of `sockets`."""
    poll = select.poll()
    for sock in sockets:
        poll.register(sock, select.POLLIN)
    found: List[Any] = poll.poll(0)
    return bool(found)
