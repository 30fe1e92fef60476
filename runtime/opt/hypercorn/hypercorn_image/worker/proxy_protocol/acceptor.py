# SPDX-License-Identifier: MIT
"""Accepts connections on asyncio and uvloop instead of their servers, and reads the headers of proxies.

The event loop gets a connection when its header has been read. TLS begins after the header.
"""

import asyncio
import contextlib
from functools import partial
from typing import Any, Callable, Optional

from hypercorn_image.worker.proxy_protocol import header
from hypercorn_image.worker.proxy_protocol.header import Addresses, Malformed
from hypercorn_image.worker.proxy_protocol.proxied import ProxiedTransport
from hypercorn_image.worker.proxy_protocol.senders import Senders

_PAUSE = 1.0  # seconds without an accept when no descriptor is free, as in asyncio


class Acceptor:
    """Takes the place of an asyncio server.

    `protocol` makes the protocol of a connection. If there was a header, it gets the function that wraps the transport.
    `tls` has the TLS arguments of `create_server`.
    """

    def __init__(
        self, loop: Any, senders: Senders, protocol: Callable[..., Any], sock: Any, backlog: int, **tls: Any
    ) -> None:
        self._loop, self._senders, self._protocol = loop, senders, protocol
        self._sock, self._backlog = sock, backlog
        self._tls = tls if tls.get("ssl") is not None else {}
        self.sockets = [self._sock]
        self._closed = False
        self._sock.setblocking(False)
        self._sock.listen(self._backlog)
        self._resume()

    def close(self) -> None:
        """Accept nothing more. Accepted connections stay open."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()

    def _resume(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._sock.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(self._backlog):
            try:
                sock, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if not self._loop.shortage.causes(error):
                    raise
                self._loop.shortage.note()
                self._loop.remove_reader(self._sock.fileno())
                self._loop.call_later(_PAUSE, self._resume)
                return
            sock.setblocking(False)
            task = self._loop.create_task(self._begin(sock))
            self._loop.handshaking.add(task)
            task.add_done_callback(self._loop.handshaking.discard)

    async def _begin(self, sock: Any) -> None:
        """Read the header, and pass the connection on to the event loop."""
        try:
            addresses = await asyncio.wait_for(self._read(sock), header.SECONDS)
        except asyncio.TimeoutError:
            self._senders.refuse(sock, "no PROXY header came in time")
            sock.close()
        except Malformed as error:
            self._senders.refuse(sock, str(error))
            sock.close()
        except (OSError, EOFError):
            sock.close()
        else:
            protocol = self._protocol
            if addresses is not None:
                protocol = partial(protocol, partial(ProxiedTransport, addresses=addresses))
            # What fails is the client's TLS handshake: the loop has closed the connection.
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                await self._loop.connect_accepted_socket(protocol, sock, **self._tls)

    async def _read(self, sock: Any) -> Optional[Addresses]:
        if not self._senders.expects(sock):
            return None
        return await header.receive(partial(self._loop.sock_recv, sock))
