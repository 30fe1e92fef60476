"""The sockets: opened once by the parent, inherited by the workers as `fd://` binds.

TCP and unix sockets are shared by all workers: a connection waits in one queue until any of them takes it, so that
replacing a worker refuses nobody. A QUIC bind has one UDP socket a worker.
"""

import contextlib
import os
import socket
import stat
from typing import Any, Dict, List, Optional, Tuple

from hypercorn_image.errors import StartError
from hypercorn_image.parse import split_bind


class Listeners:
    """The open sockets of one configuration, by kind: `secure`, `insecure` (TCP or unix), `quic` binds (UDP).

    `open` raises StartError when a socket cannot be had, and then leaves none open.
    """

    def __init__(self, config: Any) -> None:
        tls = config.certfile is not None and config.keyfile is not None
        self.secure_binds: List[str] = list(config.bind) if tls else []
        self.insecure_binds: List[str] = list(config.insecure_bind) if tls else list(config.bind)
        self.quic_binds: List[str] = list(config.quic_bind) if tls else []
        self.backlog: int = config.backlog
        self.unix_owner: Optional[Tuple[int, int]] = None
        if config.user is not None and config.group is not None:
            self.unix_owner = (config.user, config.group)
        self.umask: Optional[int] = config.umask
        self.shared: Dict[str, socket.socket] = {}

    def open(self, inherited: Optional[Dict[str, socket.socket]] = None) -> None:
        """Open and listen on every TCP and unix bind; those in `inherited` are open already and are taken over."""
        opened: List[str] = []
        try:
            for bind in self.secure_binds + self.insecure_binds:
                if bind in self.shared:
                    continue
                if inherited and bind in inherited:
                    self.shared[bind] = inherited[bind]
                else:
                    self.shared[bind] = self._open_stream(bind)
                    opened.append(bind)
                self.shared[bind].listen(self.backlog)
        except StartError:
            for bind in opened:
                self.shared.pop(bind).close()
            raise

    def _open_stream(self, bind: str) -> socket.socket:
        try:
            if bind.startswith("unix:"):
                return self._open_unix(bind[5:])
            if bind.startswith("fd://"):
                return socket.socket(fileno=os.dup(int(bind[5:])))
            return _open_inet(bind, socket.SOCK_STREAM)
        except (OSError, ValueError) as error:
            raise StartError([f"cannot listen on {bind}: {getattr(error, 'strerror', None) or error}"]) from None

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
                opened[bind] = _open_inet(self._quic_address(bind), socket.SOCK_DGRAM)
            except (OSError, ValueError) as error:
                raise StartError(
                    [f"cannot listen on {bind} (UDP): {getattr(error, 'strerror', None) or error}"]
                ) from None
        return opened

    def _quic_address(self, bind: str) -> str:
        return bind

    def adopt(self, config: Any, quic: Dict[str, socket.socket]) -> None:
        """Make `config` serve these sockets, in a worker: each bind becomes the `fd://` of a copy."""
        config.bind = [_fd(self.shared[bind]) for bind in self.secure_binds or self.insecure_binds]
        config.insecure_bind = [_fd(self.shared[bind]) for bind in self.insecure_binds] if self.secure_binds else []
        config.quic_bind = [_fd(sock) for sock in quic.values()]

    def describe(self) -> str:
        """Return the addresses for the log, as URLs."""
        shown = [f"https://{self._actual(bind)}" for bind in self.secure_binds]
        shown += [f"http://{self._actual(bind)}" for bind in self.insecure_binds]
        shown += [f"https://{bind} (QUIC)" for bind in self.quic_binds]
        return ", ".join(shown)

    def _actual(self, bind: str) -> str:
        sock = self.shared.get(bind)
        if sock is None or sock.family == socket.AF_UNIX:
            return bind
        host, port = sock.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def close(self) -> None:
        """Close every shared socket and remove the files of unix sockets."""
        for bind, sock in self.shared.items():
            sock.close()
            if bind.startswith("unix:"):
                with contextlib.suppress(OSError):
                    os.remove(bind[5:])
        self.shared = {}


def _fd(sock: socket.socket) -> str:
    return f"fd://{os.dup(sock.fileno())}"


def _open_inet(bind: str, kind: int) -> socket.socket:
    host, port = split_bind(bind)
    family, _, _, _, target = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)[0]
    sock = socket.socket(family, kind)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if kind == socket.SOCK_DGRAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6 and host == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(target)
    except OSError:
        sock.close()
        raise
    return sock
