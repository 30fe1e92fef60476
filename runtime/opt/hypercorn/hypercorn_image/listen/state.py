# SPDX-License-Identifier: MIT
"""The note that tells the health check where the server listens: a small file that `healthcheck.py` reads.

The environment does not tell: a prestart script, a configuration file or an argument may have changed it. The file is
in the first directory that can be written. With a read-only root and no tmpfs there is none, and the health check uses
the environment. Fields are separated by tabs, so that reading them needs no import.
"""

import contextlib
import os
from typing import Any, Callable, Iterable, Iterator, List, Mapping, Tuple

from hypercorn_image.config import options, settings
from hypercorn_image.config.kinds import split_bind
from hypercorn_image.config.problems import Problems

DIRECTORIES = ("/run", "/tmp", "/dev/shm")
_CERT_REQUIRED = 2  # ssl.CERT_REQUIRED, whose module costs 15 ms to import
Target = Tuple[bool, str, int]  # whether TLS, host or path of a unix socket, port (0 for a unix socket)


def _paths() -> Iterator[str]:
    directories = (os.environ["STATE_DIRECTORY"],) if os.environ.get("STATE_DIRECTORY") else DIRECTORIES
    for directory in directories:
        yield os.path.join(directory, f"hypercorn-image-{os.getuid()}")


def lines(targets: Iterable[Target], config: Mapping[str, Any], variables: Mapping[str, Any]) -> List[str]:
    """Return the lines of the note for Hypercorn's options in `config`, and the image's own `variables`."""
    proxy = _proxies(variables)
    found = [f"{proxy(address, port)}{_kind(tls, port)}\t{address}\t{port}" for tls, address, port in targets]
    names = config.get("server_names") or ["localhost"]
    found.append(f"path\t{variables.get('HEALTHCHECK_PATH', '')}")
    found.append(f"host\t{names[0]}")
    found.append(f"timeout\t{options.value(variables, 'HEALTHCHECK_TIMEOUT')}")
    if config.get("verify_mode") == _CERT_REQUIRED:
        found.append("certificate\trequired")
    return found


def _proxies(variables: Mapping[str, Any]) -> Callable[[str, int], str]:
    """Return what says of a target whether the health check has to send a PROXY header there, as a proxy."""
    if not variables.get("PROXY_PROTOCOL"):
        return lambda address, port: ""
    from hypercorn_image.app.forwarded.addresses import Proxies

    proxies = Proxies(variables.get("FORWARDED_ALLOW_IPS", ()))
    # Who connects to an address of its own has the same address.
    return lambda address, port: "proxy-" if proxies.trusts((address, port) if port else None) else ""


def _kind(tls: bool, port: int) -> str:
    if port == 0:
        return "unix-tls" if tls else "unix"
    return "tls" if tls else "tcp"


class Note:
    """The note of a running server."""

    def __init__(self) -> None:
        self._where: List[str] = []
        self._silent: List[str] = []
        self._draining: List[str] = []

    def serves(self, where: List[str]) -> None:
        """Write where the server listens: `where` has the `lines`."""
        self._where = where
        self._write()

    def silent(self, number: int, workers: int) -> None:
        """Write how many of the workers do not respond, if that has changed and the server serves."""
        before, self._silent = self._silent, [f"silent\t{number}", f"workers\t{workers}"] if number else []
        if self._silent != before and self._where:
            self._write()

    def draining(self) -> None:
        """Write that the server drains."""
        self._draining = ["draining\tyes"]
        self._write()

    def _write(self) -> None:
        write(self._where + self._silent + self._draining)


def write(note: Iterable[str]) -> None:
    """Write the lines of the note; do nothing if no directory can be written."""
    for path in _paths():
        temporary = f"{path}.{os.getpid()}"
        with contextlib.suppress(OSError):
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write("\n".join(note))
            os.replace(temporary, path)
            return


def guess(environ: Mapping[str, str]) -> List[str]:
    """Return the lines that follow from `environ` alone; none when it has problems."""
    problems = Problems()
    variables = options.read_environment(environ, problems)
    values = settings.from_variables(variables, problems, core_count=1)
    if problems.lines:
        return []
    binds = [(bind, values.get("certfile") is not None) for bind in values["bind"]]
    binds += [(bind, False) for bind in values.get("insecure_bind", [])]
    targets: List[Target] = []
    for bind, tls in binds:
        if bind.startswith("unix:"):
            targets.append((tls, bind[5:], 0))
        elif not bind.startswith("fd://"):
            host, port = split_bind(bind)
            targets.append((tls, local(host), port))
    return lines(targets, values, variables)


def local(host: str, only_ipv6: bool = False) -> str:
    """Return the address at which a socket that listens on `host` is reached inside the container.

    For `::` it is the IPv4 loopback, unless the socket takes IPv6 only: Docker's default network has no IPv6 loopback.
    """
    return {"0.0.0.0": "127.0.0.1", "::": "::1" if only_ipv6 else "127.0.0.1"}.get(host, host)


def remove() -> None:
    """Remove the note."""
    for path in _paths():
        with contextlib.suppress(OSError):
            os.remove(path)
