"""The sockets: opened once by the parent, inherited by the workers as `fd://` binds.

TCP and unix sockets are shared by all workers: a connection waits in one queue until any of them takes it, so that
replacing a worker refuses nobody. A QUIC bind has one UDP socket a worker.
"""

import contextlib
import os
import socket
import stat
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from hypercorn_image.config.kinds import split_bind
from hypercorn_image.errors import StartError
from hypercorn_image.listen import draining, state

_SO_ATTACH_REUSEPORT_CBPF = 51
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
        self.workers = max(1, config.workers)
        self.shared: Dict[Bind, socket.socket] = {}
        self._quic_actual: Dict[str, str] = {}
        self._owner = os.getpid()
        self.not_steered = ""  # why the kernel does not choose a worker by the client's address

    def open(self, inherited: Optional[Mapping[Bind, socket.socket]] = None) -> None:
        """Open and listen on every TCP and unix bind; those in `inherited` are open already and are taken over."""
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
            return _open_inet(bind, socket.SOCK_STREAM)
        except (OSError, ValueError) as error:
            raise StartError([f"cannot listen on {bind}: {_reason(error)}"]) from None

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

    def open_quic(self) -> Dict[str, socket.socket]:
        """Open one more UDP socket for every QUIC bind, for one worker; raises StartError."""
        opened: Dict[str, socket.socket] = {}
        for bind in self.quic_binds:
            try:
                if bind not in self._quic_actual:
                    # The workers' sockets share the port, and would share it with anybody who allows that too.
                    _open_inet(bind, socket.SOCK_DGRAM, shared=False).close()
                opened[bind] = _open_inet(self._quic_actual.get(bind, bind), socket.SOCK_DGRAM)
                host, port = opened[bind].getsockname()[:2]
                self._quic_actual[bind] = (
                    f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                )  # where it asked for port 0
                self._steer(opened[bind])
            except (OSError, ValueError) as error:
                for sock in opened.values():
                    sock.close()
                raise StartError([f"cannot listen on {bind} (UDP): {_reason(error)}"]) from None
        return opened

    def _steer(self, sock: socket.socket) -> None:
        try:
            draining.attach_program(sock, _SO_ATTACH_REUSEPORT_CBPF, _steering(self.workers))
        except OSError as error:
            self.not_steered = _reason(error)

    def adopt(self, config: Any, quic: Dict[str, socket.socket], copy: bool = False) -> None:
        """Make `config` serve these sockets, as `fd://` binds; without `copy` these objects lose them."""

        def descriptor(sock: socket.socket) -> str:
            return f"fd://{os.dup(sock.fileno()) if copy else sock.detach()}"

        given = {bind: descriptor(sock) for bind, sock in self.shared.items()}
        secure = [fd for (tls, _), fd in given.items() if tls]
        plain = [fd for (tls, _), fd in given.items() if not tls]
        config.bind, config.insecure_bind = (secure, plain) if secure else (plain, [])
        config.quic_bind = [descriptor(sock) for sock in quic.values()]

    def describe(self) -> str:
        """Return the addresses for the log, as URLs."""
        shown = [f"{'https' if tls else 'http'}://{_actual(bind, sock)}" for (tls, bind), sock in self.shared.items()]
        shown += [f"https://{self._quic_actual.get(bind, bind)} (HTTP/3)" for bind in self.quic_binds]
        return ", ".join(shown)

    def targets(self) -> List[Tuple[bool, str, int]]:
        """Return where to knock to see whether this serves: is it TLS, host or path of a unix socket, port (0)."""
        found = []
        for (tls, _), sock in self.shared.items():
            if sock.family == socket.AF_UNIX:
                found.append((tls, _unix_path(sock), 0))
            else:
                host, port = sock.getsockname()[:2]
                found.append((tls, state.local(host, _only_ipv6(sock)), port))
        return found

    def refuse_new(self) -> None:
        """Keep new connections out, as far as that can be; sockets that somebody else gave us are theirs."""
        self._unlink()
        draining.refuse_new(sock for (_, bind), sock in self.shared.items() if not bind.startswith("fd://"))

    def half_open(self) -> bool:
        """Tell whether a client is in the middle of connecting."""
        return draining.half_open(self.shared.values())

    def same_quic(self, others: "Listeners") -> None:
        """Use the ports that `others` were given where they asked for any."""
        self._quic_actual = {bind: at for bind, at in others._quic_actual.items() if bind in self.quic_binds}

    def close(self, but: Iterable[socket.socket] = ()) -> None:
        """Close every shared socket that is not one of `but`; who opened unix sockets also removes their files."""
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


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _steering(workers: int) -> Sequence[Tuple[int, int, int, int]]:
    """Return the program that chooses one of `workers` UDP sockets by the client's address and port, IPv4 or IPv6.

    Without it the kernel's choice depends on how many sockets there are, and a worker's replacement would send the
    packets of every connection to another worker. With it, a new worker's socket gets nothing until it takes the place
    of the one that closes.
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
        (0x94, 0, 0, workers),
        (0x16, 0, 0, 0),
    )


def _open_inet(bind: str, kind: int, shared: bool = True) -> socket.socket:
    host, port = split_bind(bind)
    family, _, _, _, target = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)[0]
    sock = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_DGRAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6 and host == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(target)
    except OSError:
        sock.close()
        raise
    return sock
