# SPDX-License-Identifier: MIT
"""What the headers of a request say: X-Forwarded-* and `Forwarded` (RFC 7239), read from the right."""

import re
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from hypercorn_image.app.forwarded.addresses import Address, Proxies, parse

FORWARDED = b"forwarded"
X_FORWARDED = (
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-forwarded-host",
    b"x-forwarded-port",
    b"x-forwarded-prefix",
)
Headers = Mapping[bytes, List[str]]
"""The values of each header, by its name in lower case."""

# `for=192.0.2.1;proto=https`. RFC 7239 wants quotes around what has a colon or brackets; not all proxies know it.
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_VALUE = r"[!#$%&'*+.^_`|~0-9A-Za-z:\[\]/-]*"
_PAIR = re.compile(rf"[ \t]*(?:({_TOKEN})=(?:({_QUOTED})|({_VALUE})))?[ \t]*(?:;|\Z)")
_COMMAS = 50  # of a header that are read, from the right, so that a long one costs little


class Said(NamedTuple):
    """What is said of a request; empty if nothing is."""

    client: Optional[Address] = None
    proto: str = ""
    host: str = ""
    port: str = ""
    prefix: str = ""


def read(headers: Headers, proxies: Proxies) -> Said:
    """Return what trusted proxies have said. If there is an X-Forwarded-* header, `Forwarded` is not read.

    Most proxies write X-Forwarded-*, and pass `Forwarded` on as the client has sent it.
    """
    if any(name in headers for name in X_FORWARDED):
        return _read_x_forwarded(headers, proxies)
    return _read_forwarded(headers.get(FORWARDED, []), proxies)


def _read_x_forwarded(headers: Headers, proxies: Proxies) -> Said:
    nodes, *others = (_items(headers.get(name, [])) for name in X_FORWARDED)
    return Said(proxies.client(nodes), *(items[-1] if items else "" for items in others))


def _items(values: List[str]) -> List[str]:
    """Return the items of a list; several headers of a name are one list (RFC 9110, 5.3)."""
    return [item.strip(" \t") for item in ",".join(values).split(",") if item.strip(" \t")]


def _read_forwarded(values: List[str], proxies: Proxies) -> Said:
    """Return what is said by the proxy that has seen the client."""
    said: Dict[str, str] = {}
    client = None
    for element in _elements(values):
        said = element
        address = parse(element.get("for", ""))
        if address is None:
            break
        client = address
        if not proxies.names(address[0]):
            break
    return Said(client, said.get("proto", ""), said.get("host", ""))


def _elements(values: List[str]) -> Iterator[Dict[str, str]]:
    """Yield the elements of a list from the right, up to one that is malformed.

    Not from the left: a quote that the client opens would swallow what the proxy has added.
    """
    rest: Optional[str] = ",".join(values)
    for _ in range(_COMMAS):
        if rest is None:
            return
        rest, element = _split_last(rest)
        if element is None:
            return
        if element:
            yield element


def _split_last(text: str) -> Tuple[Optional[str], Optional[Dict[str, str]]]:
    """Return the text before the last element, and that element; None for each that does not exist."""
    comma = len(text)
    for _ in range(_COMMAS):
        comma = text.rfind(",", 0, comma)  # it may be inside of quotes
        element = _element(text[comma + 1 :])
        if element is not None:
            return (text[:comma] if comma >= 0 else None), element
        if comma < 0:
            break
    return None, None


def _element(text: str) -> Optional[Dict[str, str]]:
    pairs: Dict[str, str] = {}
    position, end = 0, len(text)
    while position < end:
        match = _PAIR.match(text, position)
        if match is None:
            return None
        name, quoted, plain = match.groups()
        position = match.end()
        if name is None:
            continue
        if name.lower() in pairs:
            return None
        pairs[name.lower()] = re.sub(r"\\(.)", r"\1", quoted[1:-1]) if quoted else plain
    return pairs
