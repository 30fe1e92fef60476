# SPDX-License-Identifier: MIT
"""Reads PROXY headers on trio, before Hypercorn begins with the connection's TLS."""

from typing import Any

import trio

from hypercorn_image import upstream
from hypercorn_image.worker.proxy_protocol import header
from hypercorn_image.worker.proxy_protocol.header import Malformed
from hypercorn_image.worker.proxy_protocol.proxied import ProxiedSocket
from hypercorn_image.worker.proxy_protocol.senders import Senders


def install(senders: Senders) -> None:
    """Make Hypercorn read the header first on each connection whose peer has to send one."""

    async def begins(stream: Any) -> bool:
        return await _begins(getattr(stream, "transport_stream", stream), senders)

    upstream.before_trio_connections(begins)


async def _begins(stream: Any, senders: Senders) -> bool:
    """Read the header; return whether to serve the connection."""
    sock = stream.socket
    try:
        with trio.fail_after(header.SECONDS):
            addresses = await header.receive(sock.recv) if senders.expects(sock) else None
    except trio.TooSlowError:
        senders.refuse(sock, "no PROXY header came in time")
    except Malformed as error:
        senders.refuse(sock, str(error))
    except (OSError, EOFError):
        pass
    else:
        if addresses is not None:
            stream.socket = ProxiedSocket(sock, addresses)
        return True
    return False
