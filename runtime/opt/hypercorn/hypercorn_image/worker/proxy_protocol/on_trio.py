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
            return not senders.expects(sock) or await _read(stream)
    except trio.TooSlowError:
        senders.refuse(sock, "no PROXY header came in time")
    except Malformed as error:
        senders.refuse(sock, str(error))
    except OSError:
        pass
    return False


async def _read(stream: Any) -> bool:
    data = b""
    while header.wanted(data):
        more = await stream.socket.recv(header.wanted(data))
        if not more:
            return False
        data += more
    addresses = header.read(data)
    if addresses is not None:
        stream.socket = ProxiedSocket(stream.socket, addresses)
    return True
