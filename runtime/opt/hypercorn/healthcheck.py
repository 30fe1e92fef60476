# SPDX-License-Identifier: MIT
"""The image's health check: exits with 0 when the server answers, else prints one line and exits with 1.

It runs every few seconds in every container, so it imports next to nothing (`python -IS`), and TLS only when the server
has no other bind. Without HEALTHCHECK_PATH it sends bytes that are no request. A worker answers them itself with status
400, and neither the application nor the access log sees them.
"""

from __future__ import annotations

import _socket
import os
import sys

_PATHS = ("/run", "/tmp", "/dev/shm")
_NO_REQUEST = b"HEALTH\r\n\r\n"
_OF_NOBODY = b"PROXY UNKNOWN\r\n"  # with PROXY_PROTOCOL: the connection is the proxy's own


def _noted() -> list[str]:
    """Return the lines of the server's note (hypercorn_image/listen/state.py), or none."""
    for directory in (os.environ.get("STATE_DIRECTORY"),) if os.environ.get("STATE_DIRECTORY") else _PATHS:
        try:
            with open(f"{directory}/hypercorn-image-{os.getuid()}", encoding="utf-8", errors="surrogateescape") as file:
                if os.fstat(file.fileno()).st_uid == os.getuid():
                    return file.read().splitlines()
        except (OSError, ValueError):
            pass
    return []


def _guessed() -> list[str]:
    """Return the same lines, computed from the environment: without a writable directory there is no note."""
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    from hypercorn_image.listen import state

    return state.guess(os.environ)


def _connect(kind: str, address: str, port: str, timeout: float) -> _socket.socket:
    family = _socket.AF_UNIX if "unix" in kind else _socket.AF_INET6 if ":" in address else _socket.AF_INET
    sock = _socket.socket(family, _socket.SOCK_STREAM)
    sock.settimeout(timeout)
    if family == _socket.AF_UNIX:
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
    else:
        sock.connect((address, int(port)))
    return sock


def _ask(kind: str, address: str, port: str, path: str, host: str, timeout: float) -> bytes:
    """Return the first line of the answer, or any text when a TLS handshake is enough."""
    sock = _connect(kind, address, port, timeout)
    if kind.startswith("proxy"):
        sock.send(_OF_NOBODY)
    request = _NO_REQUEST
    if path:
        headers = f"host: {host}\r\nuser-agent: healthcheck\r\nconnection: close"
        request = f"GET {path} HTTP/1.1\r\n{headers}\r\n\r\n".encode()
    if not kind.endswith("tls"):
        sock.send(request)
        return _first_line(sock)
    import socket
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        plain = socket.socket(fileno=sock.detach())
        plain.settimeout(timeout)
        with context.wrap_socket(plain) as secure:
            if not path:
                return b"TLS"  # a worker has done its part of the handshake
            secure.send(request)
            return _first_line(secure)
    except ssl.SSLError as error:
        if not path and "ALERT" in (error.reason or ""):
            return b"TLS alert"  # it asks for a certificate, so it is alive
        raise


def _first_line(sock: _socket.socket) -> bytes:
    data = b""
    while b"\r\n" not in data:
        more = sock.recv(1024)
        if not more:
            break
        data += more
    return data.partition(b"\r\n")[0]


def main() -> str:
    """Check, and return what is wrong; an empty text when the server is healthy."""
    fields = [line.split("\t") for line in _noted() or _guessed()]
    settings = {field[0]: field[1] for field in fields if len(field) == 2}
    # Plain binds first: they cost less and need no certificate.
    targets = sorted((field for field in fields if len(field) == 3), key=lambda field: field[0].endswith("tls"))
    if not targets:
        return "the server is not up: it has not noted where it listens"
    if "draining" in settings:
        return "the server is draining: it stops soon (DRAIN_DELAY)"
    silent = settings.get("silent")
    if silent is not None:  # a request would go to one of the others
        return f"{silent} of {settings['workers']} workers {'does' if silent == '1' else 'do'} not respond"
    path, (kind, address, port) = settings["path"], targets[0]
    if kind.endswith("tls") and "certificate" in settings:
        path = ""  # a request needs a client certificate: the beginning of the handshake has to be enough
    where = address + (":" + port if port != "0" else "")
    try:
        answer = _ask(kind, address, port, path, settings["host"], float(settings["timeout"]))
    except OSError as error:
        return f"no answer from {where}: {error}"
    if not answer:
        return f"no answer from {where}: the connection was closed"
    if path:
        status = answer.split(b" ")[1:2]
        if not status or not b"200" <= status[0] < b"400":
            return f"{where}{path} answered {answer.decode('latin-1')!r}: a status from 200 to 399 is healthy"
    return ""


if __name__ == "__main__":
    message = main()
    if message:
        print("unhealthy: " + message)
    sys.exit(1 if message else 0)
