# SPDX-License-Identifier: MIT
"""The UDP sockets of QUIC binds: which worker gets a client's packets, and when a socket may be closed.

The kernel keeps the sockets that share a port in a list. Our BPF program computes a place in the list from the client's
address. A new socket goes to the end of the list. When a socket is closed, the last one takes its place
(`__reuseport_detach_sock` in the kernel's net/core/sock_reuseport.c). Two rules keep every connection with its worker,
also when a reload changes the number of workers:

- The number of places never changes while a socket is open. A worker has several places, so that another number of
  workers can share them.
- A socket that no worker reads is closed only when there is one beyond the places, which then takes its place.
"""

import socket
from typing import Any, Dict, Iterable, List, Sequence, Tuple

from hypercorn_image.errors import StartError
from hypercorn_image.listen import draining
from hypercorn_image.listen.inet import open_inet, reason, resolve

PLACES = 12  # at least; 1, 2, 3, 4, 6 and 12 workers have the same number each
_SO_ATTACH_REUSEPORT_CBPF = 51


class Group:
    """The sockets that share the port of one bind."""

    def __init__(self, bind: str, places: int) -> None:
        self.bind = bind
        self.places = places
        self.address = bind  # as opened: the bind may ask for port 0
        self.not_steered = ""  # why the kernel does not choose by the client's address
        self._open: List[socket.socket] = []
        self._unread: List[socket.socket] = []  # the open ones that no worker reads

    def open(self, count: int) -> List[socket.socket]:
        """Open `count` more sockets; raises StartError."""
        opened: List[socket.socket] = []
        try:
            for _ in range(count):
                opened.append(open_inet(self.address, socket.SOCK_DGRAM))
                self._open.append(opened[-1])
                if len(self._open) == 1:
                    self._begin(opened[-1])
        except OSError as error:
            self.retire(opened)
            raise cannot_listen(self.bind, error) from None
        self._settle()
        return opened

    def _begin(self, sock: socket.socket) -> None:
        host, port = sock.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            draining.attach_program(sock, _SO_ATTACH_REUSEPORT_CBPF, _steering(self.places))
        except OSError as error:
            self.not_steered = reason(error)

    def retire(self, sockets: Iterable[socket.socket]) -> None:
        """Close those of `sockets` that are of this group, as soon as allowed. No worker reads them any more."""
        self._unread += [sock for sock in sockets if sock in self._open]
        self._settle()

    def _settle(self) -> None:
        nobody_reads = len(self._unread) == len(self._open)
        while self._unread and (nobody_reads or len(self._open) > self.places):
            sock = self._unread.pop(0)
            self._open.remove(sock)
            sock.close()

    @property
    def is_open(self) -> bool:
        """Whether a socket is open."""
        return bool(self._open)

    def close(self, but: Sequence[socket.socket]) -> None:
        """Close this process's copies of all sockets except `but`. It has just been forked."""
        for sock in self._open:
            if sock not in but:
                sock.close()


class Groups:
    """The groups of all QUIC binds, of every configuration that still has workers."""

    def __init__(self) -> None:
        self._groups: Dict[Tuple[Any, ...], Group] = {}  # by socket address
        self._of: Dict[str, Group] = {}

    def of(self, bind: str, workers: int) -> Group:
        """Return the group of `bind`. A new group has places for `workers` workers; 0 stands for one without a parent.

        Raises StartError when another program has the port.
        """
        try:
            _, target = resolve(bind, socket.SOCK_DGRAM)
            group = self._groups.get(target)
            if group is None or not group.is_open:
                if not self._has_port(target[1]):
                    # With SO_REUSEPORT, another program that sets it too could share the port.
                    open_inet(bind, socket.SOCK_DGRAM, shared=False).close()
                group = self._groups[target] = Group(bind, -(-PLACES // workers) * workers if workers else 1)
        except (OSError, ValueError) as error:
            raise cannot_listen(bind, error) from None
        self._of[bind] = group
        return group

    def _has_port(self, port: int) -> bool:
        return any(group.is_open and group.address.endswith(f":{port}") for group in self._groups.values())

    def address(self, bind: str) -> str:
        """Return the address that `bind` has, which is open."""
        return self._of[bind].address

    def places(self, binds: Iterable[str]) -> int:
        """Return how many workers can serve all of `binds`, which are open."""
        return min(self._of[bind].places for bind in binds)

    def not_steered(self) -> str:
        """Return why the kernel does not choose a worker by the client's address; nothing when it does."""
        return next((group.not_steered for group in self._groups.values() if group.not_steered), "")

    def retire(self, sockets: Sequence[socket.socket]) -> None:
        """Close sockets that no worker reads any more, as soon as allowed."""
        for group in self._groups.values():
            group.retire(sockets)

    def close(self, but: Sequence[socket.socket]) -> None:
        """Close this process's copies of all sockets except `but`."""
        for group in self._groups.values():
            group.close(but)


def cannot_listen(bind: str, error: Exception) -> StartError:
    """Return the error of a QUIC bind that cannot be opened."""
    return StartError([f"cannot listen on {bind} (UDP): {reason(error)}"])


def _steering(places: int) -> Sequence[Tuple[int, int, int, int]]:
    """Return the BPF program that chooses one of `places` UDP sockets by the client's address and port, IPv4 or IPv6.

    Without it, the kernel's choice depends on the number of sockets: one more would move the packets of every
    connection to another worker. With it, a new socket gets nothing until it takes the place of one that is closed.
    """
    net = 0xFFF00000  # SKF_NET_OFF: offsets are from the IP header
    return (
        (0x30, 0, 0, net),
        (0x74, 0, 0, 4),
        (0x15, 0, 4, 4),  # version 4? else jump
        (0x20, 0, 0, (net + 12)),
        (0x07, 0, 0, 0),
        (0x28, 0, 0, (net + 20)),
        (0x05, 0, 0, 3),
        (0x20, 0, 0, (net + 20)),
        (0x07, 0, 0, 0),
        (0x28, 0, 0, (net + 40)),
        (0x0C, 0, 0, 0),
        (0x24, 0, 0, 0x9E3779B1),
        (0x74, 0, 0, 16),
        (0x94, 0, 0, places),
        (0x16, 0, 0, 0),
    )
