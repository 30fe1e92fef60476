"""Tests a pushed image before it is tagged. It is pulled as a user pulls it, for each platform.

Its labels must be right. It must start, answer, have exactly the extras of the matrix, log no error, and stop. All else
is tested by tests/images.
"""

import http.client
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from docker.client import DockerClient
from docker.errors import DockerException, NotFound

from imagematrix.console import say
from imagematrix.errors import UserError, explained
from imagematrix.matrix.model import Variant
from imagematrix.matrix.schema import ProbeEntry

LIMIT = 180.0
"""Seconds to wait for an answer: an emulated start takes long."""
_COMPLAINT = re.compile(r"\[(?:ERROR|CRITICAL)\]|^Traceback|: error: ", re.MULTILINE)
_PROBE = """
import importlib, importlib.metadata, json, sys
found = []
for name in sys.argv[1:]:
    try:
        files = importlib.metadata.files(name)
    except importlib.metadata.PackageNotFoundError:
        continue
    for module in {one.parts[0] for one in files if len(one.parts) == 2 and one.name == "__init__.py"}:
        importlib.import_module(module)
    found.append(name)
print(json.dumps(["%d.%d" % sys.version_info[:2], found]))
"""
"""Prints the Python version and which of the distributions are there; fails if one of them cannot be imported."""


@contextmanager
def pulled(client: DockerClient, reference: str) -> Iterator[str]:
    """Pull an image by its digest, and remove it at the end. Raises UserError."""
    repository, _, digest = reference.partition("@")
    try:
        client.images.pull(repository, tag=digest)
    except DockerException as error:
        raise UserError(f"{reference}: cannot be pulled: {error}") from None
    try:
        yield reference
    finally:
        _removed(reference, lambda: client.images.remove(reference))


def check(
    client: DockerClient, reference: str, variant: Variant, platform: str, labels: Mapping[str, str | None]
) -> None:
    """Test an image that the engine has and that must have these labels. Raises UserError that says what is wrong."""
    image = client.images.get(reference)
    for label, value in labels.items():
        if image.labels.get(label) != value:
            raise UserError(f"says {label}={image.labels.get(label)} on {platform}, not {value}")
    probe = variant.image.server.probe
    ports: Any = {f"{probe.port}/tcp": ("127.0.0.1", None)}
    try:
        container = client.containers.run(
            reference, detach=True, ports=ports, labels={variant.matrix.labels.smoke: variant.target}
        )
    except DockerException as error:
        raise UserError(f"does not start on {platform}: {error}") from None
    try:
        body = _answer(container, platform, probe)
        if (expected := probe.expected(variant.server_version)) not in body:
            raise UserError(f"answers GET {probe.path} on {platform} without {expected!r}: {body[:200]!r}")
        _look_inside(container, variant, platform)
        container.stop(timeout=int(LIMIT))
        status = container.wait(timeout=LIMIT)["StatusCode"]
        if status != 0:
            raise UserError(f"stops with status {status} on {platform}, not 0")
        if complaint := complaint_in(container.logs().decode(errors="replace")):
            raise UserError(f"complains on {platform}: {complaint}")
    except (DockerException, OSError) as error:
        raise UserError(f"{platform}: {explained(error)}") from None
    finally:
        _removed(f"a container of {reference}", lambda: container.remove(force=True, v=True))


def _removed(what: str, remove: Callable[[], None]) -> None:
    """Remove something. A failure of the engine is not one of the image; `make clean` removes what is left."""
    try:
        remove()
    except NotFound:
        pass
    except (DockerException, OSError) as error:
        say(f"{what} is left on the engine: {explained(error)}")


def complaint_in(log: str) -> str | None:
    """Return the first line of a server's log that is an error's, None if none is."""
    return next((line.strip() for line in log.splitlines() if _COMPLAINT.search(line)), None)


def _look_inside(container: Any, variant: Variant, platform: str) -> None:
    """Raise UserError if the Python is another than the matrix says, or the extras are."""
    packages = [extra.package for extra in variant.matrix.extras]
    status, output = container.exec_run(["python", "-c", _PROBE, *packages])
    if status != 0:
        raise UserError(f"cannot import its extras on {platform}: {output.decode(errors='replace').strip()[-300:]}")
    python, found = json.loads(output)
    if python != variant.python.version:
        raise UserError(f"has Python {python} on {platform}, not {variant.python.version}")
    meant = [extra.package for extra in variant.matrix.extras if extra in variant.extras]
    if found != meant:
        raise UserError(f"has {', '.join(found) or 'no extras'} on {platform}, not {', '.join(meant) or 'none'}")


def _answer(container: Any, platform: str, probe: ProbeEntry) -> str:
    """Return the answer to the probe's request, once the server is up."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        container.reload()
        if container.status == "exited":
            last = container.logs(tail=3).decode(errors="replace").strip()
            hint = "; emulate it with QEMU's binfmt handler" if "exec format error" in last else ""
            raise UserError(f"ends instead of answering on {platform}: {last}{hint}")
        ports = container.attrs["NetworkSettings"]["Ports"].get(f"{probe.port}/tcp")
        if ports:
            connection = http.client.HTTPConnection("127.0.0.1", int(ports[0]["HostPort"]), timeout=30)
            try:
                connection.request("GET", probe.path)
                return connection.getresponse().read().decode(errors="replace")
            except (OSError, http.client.HTTPException):
                pass  # not up yet
            finally:
                connection.close()
        time.sleep(0.1)
    raise UserError(f"does not answer on {platform} within {LIMIT:.0f} s")
