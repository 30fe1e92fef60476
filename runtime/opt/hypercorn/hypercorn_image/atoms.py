# SPDX-License-Identifier: MIT
"""The atoms of the access log, made only when the format names them.

Hypercorn copies every header and the whole environment for each line. Here it does so only if the format names an atom
that the default format does not. This can go when Hypercorn makes its atoms lazily.
"""

import time
from typing import Any, Callable, Dict, Iterator, Mapping, Optional


class Atoms(Mapping[str, Any]):
    """The atoms of one request: `request` is its scope. `make` makes all of Hypercorn's atoms."""

    def __init__(self, request: Any, response: Any, make: Callable[[], Mapping[str, Any]]) -> None:
        self.request, self.response = request, response
        self._make = make
        self._hypercorns: Optional[Mapping[str, Any]] = None

    def __getitem__(self, name: str) -> Any:
        """Return an atom, `-` if there is none, as Hypercorn does."""
        make = _DEFAULT.get(name)
        return make(self) if make is not None else self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __bool__(self) -> bool:  # logging ignores an empty mapping
        return True

    def _all(self) -> Mapping[str, Any]:
        if self._hypercorns is None:
            self._hypercorns = self._make()
        return self._hypercorns

    def sent(self, name: bytes) -> str:
        """Return a header of the answer."""
        return _header((self.response or {}).get("headers", ()), name)

    def received(self, name: bytes) -> str:
        """Return a header of the request."""
        return _header(self.request["headers"], name)

    def client(self) -> Any:
        """Return the client's address with its port; without one that the proxy has not said."""
        client = self.request.get("client")
        if client is None:
            return None
        if len(client) == 2 and client[1] == 0:
            return client[0]
        return f"{client[0]}:{client[1]}" if len(client) == 2 else self._all()["h"]

    def line(self) -> str:
        """Return the request's first line."""
        request = self.request
        method = request["method"] if request["type"] == "http" else "GET"
        return f"{method} {request['path']} {request.get('http_version', 'ws')}"

    def status(self) -> str:
        """Return the answer's status."""
        return "-" if self.response is None else str(self.response["status"])


def _header(headers: Any, name: bytes) -> str:
    found = "-"
    for key, value in headers:
        if len(key) == len(name) and key.lower() == name:
            found = value.decode("latin1")
    return found


# The atoms of Hypercorn's default format.
_DEFAULT: Dict[str, Callable[[Atoms], Any]] = {
    "h": Atoms.client,
    "l": lambda atoms: "-",
    "t": lambda atoms: time.strftime("[%d/%b/%Y:%H:%M:%S %z]"),
    "r": Atoms.line,
    "s": Atoms.status,
    "b": lambda atoms: atoms.sent(b"content-length"),
    "f": lambda atoms: atoms.received(b"referer"),
    "a": lambda atoms: atoms.received(b"user-agent"),
}
