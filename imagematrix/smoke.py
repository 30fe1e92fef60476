"""The last look at an image before a tag names it: pulled as a user would pull it, it starts, answers and stops.

All that an image must do is tested by tests/images; here is only made sure that what lies in the registry is the image
that was meant, for each platform.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from docker.client import DockerClient
from docker.errors import DockerException, ImageNotFound

from imagematrix.errors import UserError
from imagematrix.model import LABELS, Variant

LABEL = f"{LABELS}.smoke"
LIMIT = 180.0
"""Seconds until it must have answered: an emulated start takes long."""


@contextmanager
def pulled(client: DockerClient, reference: str) -> Iterator[str]:
    """Have the engine hold an image for a while, by its digest. Raises UserError."""
    repository, _, digest = reference.partition("@")
    try:
        client.images.pull(repository, tag=digest)
    except DockerException as error:
        raise UserError(f"{reference}: cannot be pulled: {error}") from None
    try:
        yield reference
    finally:
        with suppress(ImageNotFound):
            client.images.remove(reference)


def check(client: DockerClient, reference: str, variant: Variant, platform: str) -> None:
    """Start an image that the engine has, have it answer once and stop. Raises UserError saying what it did not do."""
    ports: Any = {"80/tcp": ("127.0.0.1", None)}
    try:
        container = client.containers.run(reference, detach=True, ports=ports, labels={LABEL: variant.target})
    except DockerException as error:
        raise UserError(f"does not start on {platform}: {error}") from None
    try:
        body = _answer(container, platform)
        if variant.server_version not in body:
            raise UserError(f"answers on {platform} without its version {variant.server_version}: {body[:200]!r}")
        found: Any = container.exec_run(["python", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])[1]
        python = found.decode().strip()
        if python != variant.python.version:
            raise UserError(f"has Python {python} on {platform}, not {variant.python.version}")
        container.stop(timeout=int(LIMIT))
        status = container.wait(timeout=LIMIT)["StatusCode"]
        if status != 0:
            raise UserError(f"stops with status {status} on {platform}, not 0")
    except DockerException as error:
        raise UserError(f"{platform}: {error}") from None
    finally:
        container.remove(force=True, v=True)


def _answer(container: Any, platform: str) -> str:
    """Return what `GET /` gives once the server is up."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        container.reload()
        if container.status == "exited":
            last = container.logs(tail=3).decode(errors="replace").strip()
            hint = "; emulate it with QEMU's binfmt handler" if "exec format error" in last else ""
            raise UserError(f"ends instead of answering on {platform}: {last}{hint}")
        ports = container.attrs["NetworkSettings"]["Ports"].get("80/tcp")
        if ports:
            connection = http.client.HTTPConnection("127.0.0.1", int(ports[0]["HostPort"]), timeout=30)
            try:
                connection.request("GET", "/")
                return connection.getresponse().read().decode(errors="replace")
            except (OSError, http.client.HTTPException):
                pass  # not up yet
            finally:
                connection.close()
        time.sleep(0.1)
    raise UserError(f"does not answer on {platform} within {LIMIT:.0f} s")
