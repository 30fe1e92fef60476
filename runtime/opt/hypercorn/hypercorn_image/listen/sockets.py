# SPDX-License-Identifier: MIT
"""Opens the listening sockets in the parent. The workers inherit them as `fd://` binds.

All workers share the TCP and unix sockets. A connection waits in one queue until a worker takes it, so no connection is
refused while a worker is replaced. The UDP sockets of QUIC binds are in `quic`.
"""

import contextlib
import os
import socket
import stat
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

from hypercorn_image.errors import StartError
from hypercorn_image.listen import draining, state
from hypercorn_image.listen.inet import open_inet, reason
from hypercorn_image.listen.quic import Groups

Bind = Tuple[bool, str]  # whether TLS, and the address as configured


class Listeners:
    """The open sockets of one configuration, by kind: `secure`, `insecure` (TCP or unix), `quic` binds (UDP).

    `open` raises StartError when a socket cannot be had, and then leaves none open.
    """

    def __init__(self, config: Any) -> None:
        tls = config.certfile is not None and config.keyfile is not None
        wanted = [(tls, bind) for bind in config.bind] + [(False, bind) for bind in config.insecure_bind if tls]
        self.binds: List[Bind] = list(dict.fromkeys(wanted))
        self.quic_binds: List[str] = list(config.quic_bind) if tls else []
        self.backlog: int = config.backlog
        self.unix_owner: Optional[Tuple[int, int]] = None
        if config.user is not None and config.group is not None:
            self.unix_owner = (config.user, config.group)
        self.umask: Optional[int] = config.umask
        self.workers: int = config.workers
        self.shared: Dict[Bind, socket.socket] = {}
        self.quic = Groups()  # `share_quic` replaces it
        self._owner = os.getpid()

    def open(self, inherited: Optional[Mapping[Bind, socket.socket]] = None) -> None:
        """Open and listen on every TCP and unix bind, except those that are open already, in `inherited`."""
        opened: List[socket.socket] = []
        try:
            for bind in self.binds:
                sock = _taken_over(bind, inherited or {})
                if sock is None:
                    sock = self._open_stream(bind[1])
                    opened.append(sock)
                sock.listen(self.backlog)
                self.shared[bind] = sock
        except StartError:
            for sock in opened:
                sock.close()
            self.shared = {}
            raise

    def _open_stream(self, bind: str) -> socket.socket:
        try:
            if bind.startswith("unix:"):
                return self._open_unix(bind[5:])
            if bind.startswith("fd://"):
                return socket.socket(fileno=os.dup(int(bind[5:])))
            return open_inet(bind, socket.SOCK_STREAM)
        except (OSError, ValueError) as error:
            raise StartError([f"cannot listen on {bind}: {reason(error)}"]) from None

    def _open_unix(self, path: str) -> socket.socket:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.stat(path).st_mode):
                os.remove(path)  # left by a container that was killed
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        previous = os.umask(self.umask) if self.umask is not None else None
        try:
            sock.bind(path)
            if self.unix_owner is not None:
                os.chown(path, *self.unix_owner)
        except OSError:
            sock.close()
            raise
        finally:
            if previous is not None:
                os.umask(previous)
        return sock

    def open_quic(self, slot: int = 0) -> List[socket.socket]:
        """Open the UDP sockets of the worker in `slot`, for every QUIC bind; raises StartError."""
        opened: List[socket.socket] = []
        try:
            for bind in self.quic_binds:
                group = self.quic.of(bind, self.workers)
                opened += group.open(len(range(slot, group.places, max(1, self.workers))))
        except StartError:
            self.quic.retire(opened)
            raise
        return opened

    def adopt(self, config: Any, quic: List[socket.socket], copy: bool = False) -> None:
        """Make `config` serve these sockets as `fd://` binds. Without `copy`, the descriptors become its own."""

        def descriptor(sock: socket.socket) -> str:
            return f"fd://{os.dup(sock.fileno()) if copy else sock.detach()}"

        given = {bind: descriptor(sock) for bind, sock in self.shared.items()}
        secure = [fd for (tls, _), fd in given.items() if tls]
        plain = [fd for (tls, _), fd in given.items() if not tls]
        config.bind, config.insecure_bind = (secure, plain) if secure else (plain, [])
        config.quic_bind = [descriptor(sock) for sock in quic]
        if self.quic_binds and not config.alt_svc_headers:
            # Hypercorn has one for each socket (config.py, response_headers), and workers may have many or none.
            ports = [self.quic.address(bind).rpartition(":")[2] for bind in self.quic_binds]
            config.alt_svc_headers = [f'h3=":{port}"; ma=3600' for port in ports]

    def describe(self) -> str:
        """Return the addresses for the log, as URLs."""
        shown = [f"{'https' if tls else 'http'}://{_actual(bind, sock)}" for (tls, bind), sock in self.shared.items()]
        shown += [f"https://{self.quic.address(bind)} (HTTP/3)" for bind in self.quic_binds]
        return ", ".join(shown)

    def targets(self) -> List[Tuple[bool, str, int]]:
        """Return what a health check can connect to: whether TLS, host or path of a unix socket, port or 0."""
        found = []
        for (tls, _), sock in self.shared.items():
            if sock.family == socket.AF_UNIX:
                found.append((tls, _unix_path(sock), 0))
            else:
                host, port = sock.getsockname()[:2]
                found.append((tls, state.local(host, _only_ipv6(sock)), port))
        return found

    def refuse_new(self) -> str:
        """Refuse new connections; return why the kernel does not. `fd://` binds are left to their owner."""
        self._unlink()
        return draining.refuse_new(sock for (_, bind), sock in self.shared.items() if not bind.startswith("fd://"))

    def half_open(self) -> bool:
        """Tell whether a client is in the middle of connecting."""
        return draining.half_open(self.shared.values())

    def share_quic(self, others: "Listeners") -> None:
        """Share the UDP sockets of the configuration that was there before."""
        self.quic = others.quic

    def close(self, but: Iterable[socket.socket] = ()) -> None:
        """Close every shared socket except `but`. The process that opened a unix socket also removes its file."""
        kept = list(but)
        self.shared = {bind: sock for bind, sock in self.shared.items() if sock not in kept}
        self._unlink()
        for sock in self.shared.values():
            sock.close()
        self.shared = {}

    def _unlink(self) -> None:
        if os.getpid() != self._owner:
            return
        for _, bind in self.shared:
            if bind.startswith("unix:"):
                with contextlib.suppress(OSError):
                    os.remove(bind[5:])


def _unix_path(sock: socket.socket) -> str:
    """Return the path that a unix socket is bound to; one in the abstract namespace begins with `@`, as in `ss`."""
    name = sock.getsockname()
    return "@" + os.fsdecode(name[1:]) if isinstance(name, bytes) else str(name)


def _only_ipv6(sock: socket.socket) -> bool:
    return sock.family == socket.AF_INET6 and bool(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))


def _actual(bind: str, sock: socket.socket) -> str:
    if sock.family == socket.AF_UNIX:
        return bind
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _taken_over(bind: Bind, inherited: Mapping[Bind, socket.socket]) -> Optional[socket.socket]:
    tls, address = bind
    if bind in inherited or address.endswith(":0"):
        return inherited.get(bind)
    return inherited.get((not tls, address))  # the same address, now with TLS or without
