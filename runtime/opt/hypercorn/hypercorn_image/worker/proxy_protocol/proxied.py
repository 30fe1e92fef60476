# SPDX-License-Identifier: MIT
"""A transport and a socket that wrap real ones, and have the addresses of a PROXY header."""

import socket
from typing import Any

from hypercorn_image.app.forwarded.addresses import Address
from hypercorn_image.worker.proxy_protocol.header import Addresses


class ProxiedSocket:
    """A socket of asyncio, uvloop or trio."""

    def __init__(self, sock: Any, addresses: Addresses) -> None:
        self._socket, self._addresses = sock, addresses

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    @property
    def family(self) -> socket.AddressFamily:
        """The family of the addresses."""
        return self._addresses.family

    def getpeername(self) -> Address:
        """Return the client's address."""
        return self._addresses.client

    def getsockname(self) -> Address:
        """Return the address that the client has connected to."""
        return self._addresses.server


class ProxiedTransport:
    """A transport of asyncio or uvloop."""

    def __init__(self, transport: Any, addresses: Addresses) -> None:
        self._transport, self._addresses = transport, addresses

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the connection."""
        if name == "peername":
            return self._addresses.client
        if name == "sockname":
            return self._addresses.server
        found = self._transport.get_extra_info(name, default)
        return ProxiedSocket(found, self._addresses) if name == "socket" else found
