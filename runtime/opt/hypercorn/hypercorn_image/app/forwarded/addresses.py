# SPDX-License-Identifier: MIT
"""Addresses as proxies write them, and the list of proxies that are trusted (FORWARDED_ALLOW_IPS)."""

import functools
import ipaddress
import re
from typing import Any, Iterable, List, Optional, Tuple, Union

Address = Tuple[str, int]
"""Host and port, as a scope's `client` has them. The port is 0 if it is not known."""
EVERYBODY, UNIX = "*", "unix"
IP = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
# An IPv6 address with a port is in brackets. The port may be hidden behind a name (RFC 7239, 6.3).
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::(?:([0-9]{1,5})|_[\w.-]+))?|([0-9A-Fa-f:.]+)", re.ASCII)


def parse(text: str) -> Optional[Address]:
    """Return the address in `text`; None if it is not one, such as `unknown` or `_hidden`."""
    match = _NODE.fullmatch(text)
    if match is None:
        return None
    bracketed, plain, port, bare = match.groups()
    try:
        found = read_ip(bracketed or plain or bare)
    except ValueError:
        return None
    return str(found), int(port) if port and int(port) < 65536 else 0


def read_ip(address: Union[str, bytes]) -> IP:
    """Return an IP address; for an IPv4-mapped IPv6 address, the IPv4 address. Raises ValueError."""
    found = ipaddress.ip_address(address)
    return getattr(found, "ipv4_mapped", None) or found


def check(item: str) -> None:
    """Raise ValueError for an item that the list may not have."""
    if item not in (EVERYBODY, UNIX):
        ipaddress.ip_network(item)


class Proxies:
    """The trusted proxies: addresses, networks, `unix` for all peers of a unix socket, `*` for all peers."""

    def __init__(self, items: Iterable[str]) -> None:
        listed = set(items)
        self._everybody, self._unix = EVERYBODY in listed, UNIX in listed
        self._networks = [ipaddress.ip_network(item) for item in listed - {EVERYBODY, UNIX}]
        self.names = functools.lru_cache(maxsize=1024)(self._names)

    def trusts(self, client: Optional[Tuple[Any, ...]]) -> bool:
        """Tell whether a peer is trusted. `client` is a scope's, None for a unix socket."""
        if self._everybody:
            return True
        return self._unix if client is None else self.names(client[0])

    def lists(self, client: Optional[Tuple[Any, ...]]) -> bool:
        """Tell whether a client has an address that is in the list. `*` and `unix` do not count."""
        return client is not None and self.names(client[0])

    def _names(self, host: str) -> bool:
        """Tell whether an address is in the list. `*` names nobody."""
        try:
            found = read_ip(host.partition("%")[0])  # without the zone of a link-local one
        except ValueError:
            return False
        return any(found in network for network in self._networks)

    def client(self, nodes: List[str]) -> Optional[Address]:
        """Return the right-most address of `nodes` that is not trusted, or the left-most of those that all are.

        Each proxy adds the address that it has seen at the right. Whatever is left of an address that is not trusted
        may be forged. So may whatever is left of an item that is no address: then the one right of it is returned.
        """
        found = None
        for node in reversed(nodes):
            address = parse(node)
            if address is None:
                break
            found = address
            if not self.names(address[0]):
                break
        return found
