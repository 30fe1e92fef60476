"""Parses the name of an image as Docker's clients do: host, repository, tag and digest.

The rules are those of https://github.com/distribution/reference. This is the one place that knows them.
"""

import re
from dataclasses import dataclass

HUB = "docker.io"
LONGEST_NAME = 255
"""Characters in a repository's name, its host included."""
LONGEST_TAG = 128

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_REFERENCE = re.compile(
    rf"(?:(?P<host>{_LABEL}(?:\.{_LABEL})*(?::[0-9]+)?|\[[0-9a-fA-F:]+\](?::[0-9]+)?)/)??"
    rf"(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
    rf"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{LONGEST_TAG - 1}}}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@dataclass(frozen=True)
class Reference:
    """An image's name. `host` and `path` are complete: docker.io and library/python for `python`."""

    host: str
    path: str
    tag: str | None
    digest: str | None

    @property
    def name(self) -> str:
        """The repository as Docker's clients write it: `python`, `team/app`, `ghcr.io/a/b`."""
        return self.path.removeprefix("library/") if self.host == HUB else f"{self.host}/{self.path}"

    def mirrored(self, mirror: str) -> str:
        """Return where to pull it from; `mirror` is HOST[/PATH] of a mirror of Docker Hub, or empty.

        A mirror of Docker Hub has nothing of other registries.
        """
        name = f"{mirror}/{self.path}" if mirror and self.host == HUB else self.name
        tag = f":{self.tag}" if self.tag else ""
        return f"{name}{tag}{f'@{self.digest}' if self.digest else ''}"


def parse(text: str) -> Reference:
    """Parse a name. Raises ValueError with one line that says what is wrong."""
    match = _REFERENCE.fullmatch(text)
    if not match:
        raise ValueError("is not an image with a tag such as python:3.13-slim-trixie")
    host, path = match["host"], match["path"]
    first, slash, rest = path.partition("/")
    if host is None and slash and is_host(first):
        host, path = first, rest
    elif host is not None and not is_host(host):
        raise ValueError(f"{host} is no registry's host, and capitals are not allowed in a repository's name")
    host = HUB if host in (None, "index.docker.io") else host
    if len(host) + 1 + len(path) > LONGEST_NAME:
        raise ValueError(f"is too long: a repository's name has at most {LONGEST_NAME} characters")
    check_port(host)
    if host == HUB and "/" not in path:
        path = f"library/{path}"
    return Reference(host, path, match["tag"], match["digest"])


def is_host(first: str) -> bool:
    """Say whether the first component of a name is a registry's host and not a namespace of Docker Hub."""
    return "." in first or ":" in first or first == "localhost"


def check_port(host: str) -> None:
    """Raise ValueError if a host has a port that is not allowed."""
    port = re.search(r":([0-9]+)$", host)
    if port and not (len(port[1]) <= 5 and 1 <= int(port[1]) <= 65535):
        raise ValueError(f"{port[1][:20]} is no port; allowed are 1 to 65535")
