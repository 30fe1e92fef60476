"""The event loop class of an asyncio or uvloop worker: it remembers what a stop has to close, and adds nothing else.

That is what is made on the worker's own listening sockets. What the application opens is none of it. In which order a
worker stops is `on_asyncio`'s business.
"""

import asyncio
from typing import Any, Callable, List, Optional, Set
from weakref import WeakSet

HandOver = Callable[[Any, bytes], Any]
"""Gives a transport and what was read of it to Hypercorn's protocol, and returns that."""


class _Server:
    """Stands for an asyncio server. Its `wait_closed` does not wait for connections.

    Python 3.12 made it wait for them all, before Hypercorn looks at its graceful timeout (HYPERCORN.md 4, cpython
    gh-79033). Can go when Hypercorn bounds that wait.
    """

    def __init__(self, server: Any) -> None:
        self._server = server

    def close(self) -> None:
        self._server.close()

    async def wait_closed(self) -> None:
        return


class _Connection(asyncio.Protocol):
    """Passes everything on to another protocol, and notes the transport; during a TLS handshake, itself.

    The other one is Hypercorn's, or what stands before it until that hands the connection over.
    """

    def __init__(self, loop: "LoopMixin", hypercorn: Any) -> None:
        self._loop, self._hypercorn = loop, hypercorn
        loop.handshaking.add(self)
        self._pass_on_to(loop.front(self._hand_over) if loop.front is not None else hypercorn)

    def _pass_on_to(self, inner: Any) -> None:
        self._inner = inner
        # Bound here, not wrapped: nothing is added to the path of the data.
        for name in ("data_received", "eof_received", "pause_writing", "resume_writing"):
            setattr(self, name, getattr(inner, name))

    def _hand_over(self, transport: Any, data: bytes) -> Any:
        """Pass on to Hypercorn's protocol from now on, `data` first; return that protocol."""
        self._pass_on_to(self._hypercorn)
        transport.set_protocol(self)  # uvloop keeps a protocol's methods
        self._hypercorn.connection_made(transport)
        if data:
            self._hypercorn.data_received(data)
        return self._hypercorn

    def connection_made(self, transport: Any) -> None:
        self._loop.handshaking.discard(self)
        self._transport = transport
        self._loop.transports.add(transport)
        self._loop.on_connection(transport)
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self._loop.transports.discard(self._transport)
        self._inner.connection_lost(exc)


class LoopMixin:
    """What is added to an event loop class: `servers`, `transports` and `datagrams` on the descriptors in `ours`.

    Each of those is served once. Its number may be the application's after it was closed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ours: Set[int] = set()
        self.servers: List[Any] = []
        self.transports: Set[Any] = set()
        self.handshaking: "WeakSet[Any]" = WeakSet()  # accepted, and without a transport yet
        self.datagrams: List[Any] = []
        self.on_connection: Callable[[Any], None] = lambda transport: None
        self.front: Optional[Callable[[HandOver], Any]] = None  # makes what stands before Hypercorn's protocol

    async def create_server(self, protocol_factory: Any, *args: Any, **kwargs: Any) -> Any:
        """Make a server. The connections of ours are known."""
        if not self._takes_ours(kwargs):
            return await super().create_server(protocol_factory, *args, **kwargs)  # type: ignore[misc]
        server = await super().create_server(  # type: ignore[misc]
            lambda: _Connection(self, protocol_factory()), *args, **kwargs
        )
        self.servers.append(server)
        return _Server(server)

    async def create_datagram_endpoint(self, protocol_factory: Any, *args: Any, **kwargs: Any) -> Any:
        """Make a datagram endpoint. Ours are known."""
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
