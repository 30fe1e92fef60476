"""The event loop class of an asyncio or uvloop worker: it remembers what a stop has to close, and adds nothing else.

In which order a worker stops is `on_asyncio`'s business.
"""

import asyncio
from typing import Any, List, Optional, Set


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
    """Passes everything on to Hypercorn's protocol, and notes the transport."""

    def __init__(self, inner: Any, transports: Set[Any]) -> None:
        self._inner = inner
        self._transports = transports
        # Bound here, not wrapped: nothing is added to the path of the data.
        for name in ("data_received", "eof_received", "pause_writing", "resume_writing"):
            setattr(self, name, getattr(inner, name))

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._transports.add(transport)
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self._transports.discard(self._transport)
        self._inner.connection_lost(exc)


class LoopMixin:
    """What is added to an event loop class: `servers`, `transports` and `datagrams` made through it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.servers: List[Any] = []
        self.transports: Set[Any] = set()
        self.datagrams: List[Any] = []

    async def create_server(self, protocol_factory: Any, *args: Any, **kwargs: Any) -> Any:
        """Make a server whose connections are known."""
        server = await super().create_server(  # type: ignore[misc]
            lambda: _Connection(protocol_factory(), self.transports), *args, **kwargs
        )
        self.servers.append(server)
        return _Server(server)

    async def create_datagram_endpoint(self, protocol_factory: Any, *args: Any, **kwargs: Any) -> Any:
        """Make a datagram endpoint that is known."""
        made = await super().create_datagram_endpoint(protocol_factory, *args, **kwargs)  # type: ignore[misc]
        self.datagrams.append(made)
        return made


def loop_class(worker_class: str) -> Any:
    """Return the event loop class of `worker_class`."""
    if worker_class == "uvloop":
        import uvloop

        base: Any = uvloop.Loop
    else:
        base = asyncio.SelectorEventLoop
    return type("ImageLoop", (LoopMixin, base), {})
