"""What clients send, and by the RFC what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Traffic(NamedTuple):
    """So many requests at once on each of so many connections. `size` is that of a whole answer, in bytes."""

    connections: int
    at_once: int
    path: str
    size: int
    body: bytes = b""


@dataclass
class Counts:
    """How many connections and requests there were. `again` are requests that the server says it has not begun."""

    connections: int = 0
    sent: int = 0
    answered: int = 0
    again: int = 0
    lost: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.connections} connections, {self.sent} sent, {self.answered} answered, "
            f"{self.again} to be sent again, {len(self.lost)} lost"
        )


class Clients:
    """Clients that send `traffic` to one of the URLs of a server until `stopping`, and count."""

    def __init__(self, traffic: Traffic, urls: list[str]) -> None:
        self.traffic, self.urls = traffic, urls
        self.counts, self.stopping = Counts(), False

    async def run(self) -> None:
        """Send requests on one connection after another."""
        raise NotImplementedError

    def count(self, status: int, size: int) -> None:
        """Count an answer; one with another status or another size than the whole one is lost."""
        if (status, size) == (200, self.traffic.size):
            self.counts.answered += 1
        else:
            self.counts.lost.append(f"{status} with {size} bytes")

    @property
    def again_for_each_connection(self) -> int:
        """How many requests a connection may have to send again when its worker is replaced."""
        return 1

    @property
    def cleartext(self) -> str:
        """The URL without TLS."""
        return next(url for url in self.urls if url.startswith("http:"))
