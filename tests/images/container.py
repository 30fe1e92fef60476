"""A container for a test: started from an image, reached on a port of its own, and gone when the test ends."""

from __future__ import annotations

import http.client
import io
import json
import tarfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from docker.client import DockerClient
from docker.errors import NotFound
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from imagematrix.machine.base_image import own_labels

OWN = own_labels()

LIMIT = 60.0
"""Seconds within which anything a test waits for must have happened, on a slow machine under load."""


class Container:
    """A running container and what tests ask of it."""

    def __init__(self, container: Any) -> None:
        self.docker = container

    def port(self, inside: str = "80/tcp") -> int:
        """Return the port of 127.0.0.1 behind which `inside` is."""

        def published() -> int | None:
            self.docker.reload()
            ports = self.docker.attrs["NetworkSettings"]["Ports"].get(inside)
            if not ports and self.docker.status == "exited":
                raise AssertionError(f"the container ended:\n{self.logs()}")
            return int(ports[0]["HostPort"]) if ports else None

        return wait_for(published, f"port {inside}")

    def get(self, path: str = "/", inside: str = "80/tcp") -> tuple[int, str]:
        """Return status and body of `GET path`, once the server answers."""

        def answer() -> tuple[int, str] | None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port(inside), timeout=10)
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                return response.status, response.read().decode()
            except (OSError, http.client.HTTPException):
                self.docker.reload()
                if self.docker.status == "exited":
                    raise AssertionError(f"the container ended:\n{self.logs()}") from None
                return None
            finally:
                connection.close()

        return wait_for(answer, "an answer", self.logs)

    def run(self, *command: str) -> str:
        """Return what a command in the container prints; it must succeed."""
        status, output = self.docker.exec_run(list(command))
        assert status == 0, f"{command} ended with {status}:\n{output.decode()}"
        return str(output.decode())

    def logs(self) -> str:
        """Return what the container has said so far."""
        return str(self.docker.logs().decode(errors="replace"))

    def stop(self) -> int:
        """Stop it as `docker stop` does and return its exit status."""
        self.docker.stop(timeout=int(LIMIT))
        return self.wait()

    def wait(self) -> int:
        """Return the exit status once it has ended."""
        return int(self.docker.wait(timeout=LIMIT)["StatusCode"])


def wait_for(probe: Any, what: str, explain: Any = None) -> Any:
    """Return the first true answer of `probe`; fail when there is none within LIMIT."""
    deadline = time.monotonic() + LIMIT
    pause = 0.01
    while time.monotonic() < deadline:
        if answer := probe():
            return answer
        time.sleep(pause)  # between two looks, not instead of one
        pause = min(pause * 1.5, 0.25)
    raise AssertionError(f"no {what} within {LIMIT:.0f} s\n{explain() if explain else ''}")


def address(container: Container, variable: str = "TCP_PORT") -> tuple[str, int]:
    """Return where a container in the host's network listens: the engine's proxy accepts before it, and hides that."""
    environ = dict(line.split("=", 1) for line in container.docker.attrs["Config"]["Env"])
    return "127.0.0.1", int(environ[variable])


class Runner:
    """Starts containers of one engine and removes whatever it started."""

    def __init__(self, client: DockerClient, session: str) -> None:
        self.client, self.session = client, session

    @contextmanager
    def __call__(
        self,
        image: str,
        command: list[str] | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        publish: tuple[str, ...] = ("80/tcp",),
        **options: Any,
    ) -> Iterator[Container]:
        """Start `image` with `files` (path -> text) put into it first."""
        container = self.client.containers.create(
            image,
            command,
            environment=dict(environment or {}),
            ports=dict.fromkeys(publish, ("127.0.0.1", None)),
            labels={OWN.test: self.session},
            **options,
        )
        try:
            if files:
                container.put_archive("/", archive(files))
            container.start()
            yield Container(container)
        finally:
            remove(container)

    def sweep(self) -> None:
        """Remove what an interrupted test left behind."""
        for container in self.client.containers.list(all=True, filters={"label": f"{OWN.test}={self.session}"}):
            remove(container)

    @contextmanager
    def built(self, dockerfile: str, files: Mapping[str, str]) -> Iterator[str]:
        """Build an image as a user does and return a tag of its own, by which it is removed again."""
        tag = f"hypercorn-images-test:{uuid.uuid4().hex}"
        context = io.BytesIO(archive({"Dockerfile": dockerfile, **files}))
        marks = {OWN.test: self.session}
        self.client.images.build(fileobj=context, custom_context=True, tag=tag, rm=True, forcerm=True, labels=marks)
        try:
            yield tag
        finally:
            self.client.images.remove(tag)


def remove(container: Any) -> None:
    """Remove a container whatever it is doing; one that is gone is fine."""
    with suppress(NotFound):
        container.remove(force=True, v=True)


def archive(files: Mapping[str, str]) -> bytes:
    """Return a tar archive of `files`; scripts can be executed."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for path, text in files.items():
            info = tarfile.TarInfo(path.lstrip("/"))
            data = text.encode()
            info.size, info.mode, info.mtime = len(data), 0o755 if path.endswith(".sh") else 0o644, int(time.time())
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def installed(container: Container) -> dict[str, str]:
    """Return name -> version of every distribution in the container."""
    program = (
        "import json; from importlib.metadata import distributions; "
        "print(json.dumps({d.metadata['Name']: d.version for d in distributions()}))"
    )
    found: dict[str, str] = json.loads(container.run("python", "-c", program))
    return {canonicalize_name(name): version for name, version in found.items()}


def broken(container: Container) -> list[str]:
    """Return the requirements of distributions in the container that it does not meet, as `pip check` would.

    Not with the container's pip, which comes without byte code: that takes ten seconds in each image.
    """
    program = """
import json, os, platform, sys
from importlib.metadata import distributions
print(json.dumps([
    {"python_version": "%d.%d" % sys.version_info[:2], "python_full_version": platform.python_version(),
     "implementation_name": sys.implementation.name, "implementation_version": platform.python_version(),
     "platform_python_implementation": platform.python_implementation(), "os_name": os.name,
     "sys_platform": sys.platform, "platform_system": platform.system(), "platform_machine": platform.machine(),
     "platform_release": platform.release(), "platform_version": platform.version()},
    {one.metadata["Name"]: [one.version, one.requires or []] for one in distributions()},
]))
"""
    environment, there = json.loads(container.run("python", "-c", program))
    versions = {canonicalize_name(name): version for name, (version, _) in there.items()}

    def is_met(wanted: Requirement) -> bool:
        if wanted.marker and not wanted.marker.evaluate({**environment, "extra": ""}):
            return True
        version = versions.get(canonicalize_name(wanted.name))
        return version is not None and wanted.specifier.contains(version, prereleases=True)

    return [
        f"{name} needs {wanted}, there is {versions.get(canonicalize_name(wanted.name))}"
        for name, (_, texts) in there.items()
        for wanted in map(Requirement, texts)
        if not is_met(wanted)
    ]
