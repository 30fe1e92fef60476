# SPDX-License-Identifier: MIT
"""Opens a TCP or UDP socket on an address as it is configured."""

import socket
from typing import Any, Tuple

from hypercorn_image.config.kinds import split_bind


def resolve(bind: str, kind: int) -> Tuple[socket.AddressFamily, Any]:
    """Return the family and the socket address that `bind` means; raises OSError or ValueError."""
    host, port = split_bind(bind)
    family, _, _, _, target = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)[0]
    return family, target


def open_inet(bind: str, kind: int, shared: bool = True) -> socket.socket:
    """Return a socket that is bound to `bind`; `shared` UDP sockets share the port. Raises OSError or ValueError."""
    family, target = resolve(bind, kind)
    sock = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_DGRAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6 and target[0] == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(target)
    except OSError:
        sock.close()
        raise
    return sock


def reason(error: Exception) -> str:
    """Return the reason for `error` in words."""
    return getattr(error, "strerror", None) or str(error)
