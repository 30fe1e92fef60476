# SPDX-License-Identifier: MIT
"""The head of a plain request, read with the regular expressions of h11."""

import re
from typing import List, NamedTuple, Optional, Tuple

_TOKEN = rb"[-!#$%&'*+.^_`|~0-9a-zA-Z]+"
_VALUE = rb"(?:[^\x00\s]+(?:[ \t]+[^\x00\s]+)*)?"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.1\r\n")
_HEADER = re.compile(rb"(" + _TOKEN + rb"):[ \t]*(" + _VALUE + rb")[ \t]*\r\n")
NAME, VALUE = re.compile(_TOKEN), re.compile(_VALUE)
"""What the name and the value of a header may be."""
_HANDED = frozenset((b"transfer-encoding", b"upgrade", b"expect", b"http2-settings"))
_READ = frozenset((b"host", b"content-length", b"connection")) | _HANDED

Headers = List[Tuple[bytes, bytes]]


class Head(NamedTuple):
    """The head of a plain request. `raw_headers` have their names as they came, `length` is the body's in bytes."""

    method: str
    target: bytes
    headers: Headers
    raw_headers: Headers
    length: int
    keep_alive: bool


def read_head(data: bytes) -> Optional[Head]:
    """Return the plain request that `data` is the head of, without its last empty line; None where it is not plain."""
    line = _REQUEST_LINE.match(data)
    if line is None:
        return None
    method, target = line.groups()
    headers: Headers = []
    raw_headers: Headers = []
    host, length, keep_alive = False, -1, True
    position, end = line.end(), len(data)
    while position < end:
        found = _HEADER.match(data, position)
        if found is None:
            return None
        raw, value = found.groups()
        name = raw.lower()
        position = found.end()
        if name in _READ:
            if name in _HANDED or (name == b"host" and host):
                return None
            if name == b"host":
                host = True
            elif name == b"connection":
                keep_alive = keep_alive and b"close" not in [token.strip() for token in value.lower().split(b",")]
            elif length >= 0 or not value.isdigit() or len(value) > 18:
                return None
            else:
                length = int(value)
        headers.append((name, value))
        raw_headers.append((raw, value))
    if not host or method != method.upper() or method == b"CONNECT":
        return None
    return Head(method.decode("ascii"), target, headers, raw_headers, max(0, length), keep_alive)
