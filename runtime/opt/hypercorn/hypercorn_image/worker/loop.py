# SPDX-License-Identifier: MIT
"""The event loop class of an asyncio or uvloop worker: it notes what a stop has to close.

These are the servers and connections on the worker's own listening sockets, and nothing that the application opens. The
order of a stop is in `on_asyncio`.
"""

import asyncio
from typing import Any, Callable, List, Optional, Set
from weakref import WeakSet

HandOver = Callable[[Any, bytes], Any]
"""Passes a transport and the data read from it on to Hypercorn's protocol, and returns that protocol."""


class _Server:
    """Wraps an asyncio server so that `wait_closed` does not wait for connections.

    Since Python 3.12 it waits for all of them (cpython gh-79033), and Hypercorn waits for it without a limit
    (asyncio/run.py). This can go when Hypercorn sets one.
    """

    def __init__(self, server: Any) -> None:
        self._server = server

    def close(self) -> None:
        self._server.close()

    async def wait_closed(self) -> None:
        return


class _Connection(asyncio.Protocol):
    """Passes everything on to another protocol, and notes its transport, or itself during a TLS handshake.

    The other protocol is Hypercorn's, or the one of `loop.front`, which may hand the connection over to Hypercorn's.
    """

    def __init__(self, loop: "LoopMixin", hypercorn: Any, seen_as: Callable[[Any], Any]) -> None:
        self._loop, self._hypercorn, self._seen_as = loop, hypercorn, seen_as
        loop.handshaking.add(self)
        self._pass_on_to(loop.front(self._hand_over) if loop.front is not None else hypercorn)

    def _pass_on_to(self, inner: Any) -> None:
        self._inner = inner
        # Bound and not wrapped, so that the data takes no longer path.
        for name in ("data_received", "eof_received", "pause_writing", "resume_writing"):
            setattr(self, name, getattr(inner, name))

    def _hand_over(self, transport: Any, data: bytes) -> Any:
        """Pass everything on to Hypercorn's protocol from now on, beginning with `data`; return that protocol."""
        self._pass_on_to(self._hypercorn)
        transport.set_protocol(self)  # uvloop has kept the methods of the one before
        self._hypercorn.connection_made(transport)
        if data:
            self._hypercorn.data_received(data)
        return self._hypercorn

    def connection_made(self, transport: Any) -> None:
        self._loop.handshaking.discard(self)
        self._transport = transport
        self._loop.transports.add(transport)
        self._loop.on_connection(transport)
        self._inner.connection_made(self._seen_as(transport))

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self._loop.transports.discard(self._transport)
        self._inner.connection_lost(exc)


class LoopMixin:
    """Adds to an event loop class the `servers`, `transports` and `datagrams` on the descriptors in `ours`.

    Each descriptor is noted once. After it is closed, the application may get the same number.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ours: Set[int] = set()
        self.servers: List[Any] = []
        self.transports: Set[Any] = set()
        self.handshaking: "WeakSet[Any]" = WeakSet()  # accepted, without a transport yet
        self.datagrams: List[Any] = []
        self.on_connection: Callable[[Any], None] = lambda transport: None
        self.front: Optional[Callable[[HandOver], Any]] = None  # makes the protocol that comes before Hypercorn's
        self.accepts: Optional[Callable[..., Any]] = None  # makes what accepts in place of the event loop

    async def create_server(self, protocol_factory: Any, *args: Any, **kwargs: Any) -> Any:
        """Create a server. Note it, and its connections, if it is the worker's."""
        if not self._takes_ours(kwargs):
            return await super().create_server(protocol_factory, *args, **kwargs)  # type: ignore[misc]

        def connection(seen_as: Callable[[Any], Any] = lambda transport: transport) -> _Connection:
            return _Connection(self, protocol_factory(), seen_as)

        if self.accepts is not None:
            server = self.accepts(connection, **kwargs)
        else:
            server = await super().create_server(connection, *args, **kwargs)  # type: ignore[misc]
        self.servers.append(server)
        return _Server(server)

    async def create_datagram_endpoint(self, protocol_factory: Any, *args: Any, **kwargs: Any) -> Any:
        """Create a datagram endpoint. Note it if it is the worker's."""
        ours = self._takes_ours(kwargs)
        made = await super().create_datagram_endpoint(protocol_factory, *args, **kwargs)  # type: ignore[misc]
        if ours:
            self.datagrams.append(made)
        return made

    def _takes_ours(self, arguments: Any) -> bool:
        sock = arguments.get("sock")
        if sock is None or sock.fileno() not in self.ours:
            return False
        self.ours.discard(sock.fileno())
        return True


def loop_class(worker_class: str) -> Any:
    """Return the event loop class of `worker_class`."""
    if worker_class == "uvloop":
        import uvloop

        base: Any = uvloop.Loop
    else:
        base = asyncio.SelectorEventLoop
    return type("ImageLoop", (LoopMixin, base), {})
