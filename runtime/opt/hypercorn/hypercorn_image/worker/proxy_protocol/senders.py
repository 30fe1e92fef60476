# SPDX-License-Identifier: MIT
"""Tells who has to send a PROXY header, and logs those that do not."""

import socket
from typing import Any, Callable, Optional

from hypercorn_image.app.forwarded.addresses import Proxies
from hypercorn_image.logs import Seldom

LINE = "Connection from %s closed: %s (PROXY_PROTOCOL)"


class Senders:
    """The proxies that are trusted. `log` takes a level, a message and its values."""

    def __init__(self, proxies: Proxies, log: Callable[..., None]) -> None:
        self._proxies, self.log = proxies, log
        self._seldom = Seldom()

    def expects(self, sock: Any) -> bool:
        """Tell whether a connection has to begin with a header. Raises OSError if it has ended."""
        return self._proxies.trusts(_peer(sock))

    def refuse(self, sock: Any, reason: str) -> None:
        """Log that a connection is closed, not often for the same reason."""
        if not self._seldom.may(reason):
            return
        try:
            peer = _peer(sock)
        except OSError:
            return
        self.log("warning", LINE, "a unix socket" if peer is None else peer[0], reason)


def _peer(sock: Any) -> Optional[Any]:
    return None if sock.family == socket.AF_UNIX else sock.getpeername()
