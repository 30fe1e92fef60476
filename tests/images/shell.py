"""A user's folder and shell: what a document says is typed there, with real docker, Compose and buildx.

Whatever `docker` makes is gone at the end. A host's ports and the names that everybody would give are replaced by some
of this test's own, so that several run on one engine.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path

from docker.client import DockerClient
from docker.errors import NotFound

from imagematrix.machine.engine import Engine
from tests.images.container import LIMIT, OWN, Container, remove, wait_for
from tests.local import SCRIPTS, free_port, need

_DOCKER = """\
#!/bin/sh
# Compose 5 wants a newer buildx than Debian has; it builds with the engine's own builder then.
case $1 in
    run | build) verb=$1; shift; exec {docker} "$verb" --label {label} "$@" ;;
    compose) DOCKER_BUILDKIT=0 exec {docker} "$@" ;;
    *) exec {docker} "$@" ;;
esac
"""

BUILD = 600.0
"""Seconds within which commands must have ended: a build installs packages, on a busy machine."""


class Shell:
    """A folder of files in which commands run."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.folder, self.engine = folder / "home", engine
        self.name = f"shop-{uuid.uuid4().hex[:12]}"
        self.label = f"{OWN.test}={self.name}"  # of what `docker run` and `docker build` make
        self.ports = {"8080": str(free_port()), "8443": str(free_port())}
        need("docker", package="docker.io")
        programs = folder / "bin"
        plugins = folder / "docker/cli-plugins"
        for made in (self.folder, programs, plugins):
            made.mkdir(parents=True)
        (programs / "docker").write_text(_DOCKER.format(docker=shutil.which("docker"), label=self.label))
        (programs / "docker").chmod(0o755)
        (plugins / "docker-compose").symlink_to(SCRIPTS / "docker-compose")
        buildx = engine.buildx
        if buildx[-1] != "buildx":  # it is a program of its own; else the client has it already
            (plugins / "docker-buildx").symlink_to(buildx[-1])
        self.environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "DOCKER_HOST": engine.host,
            "DOCKER_CONFIG": str(folder / "docker"),
            "COMPOSE_PROJECT_NAME": self.name,
        }

    @cached_property
    def client(self) -> DockerClient:
        return self.engine.client()

    def write(self, files: Mapping[str, str]) -> None:
        """Write files, path -> text."""
        for path, text in files.items():
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)

    def mine(self, text: str) -> str:
        """Return a text with this test's ports and names."""
        for usual, own in self.ports.items():
            text = re.sub(rf"\b{usual}\b", own, text)
        return re.sub(r"\bshop\b", self.name, text)

    def run(self, script: str) -> str:
        """Run commands until they end, and return what they print. They must succeed."""
        with self.started(script) as process:
            self.wait(process, BUILD)
        return self.said()

    def serve(self, script: str, meanwhile: Callable[[], object] | None = None) -> None:
        """Run commands of which the last serves; once it answers do something, then stop it as a user does."""
        with self.started(script) as process:
            wait_for(self.answers, "answer", self.explain)
            if meanwhile:
                meanwhile()
            process.send_signal(signal.SIGINT)
            self.wait(process, LIMIT)

    @contextmanager
    def started(self, script: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run commands in a process that replaces the shell at the last of them, so that it hears Ctrl-C."""
        *first, last = re.split(r"\n(?=\S)", self.mine(script).rstrip())
        with (self.folder.parent / "said").open("wb") as said:
            process = subprocess.Popen(
                ["sh", "-ec", "\n".join([*first, f"exec {last}"])],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        try:
            yield process
            assert process.poll() in (0, 130), f"{script}\nended with {process.poll()}:\n{self.explain()}"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def wait(self, process: subprocess.Popen[bytes], limit: float) -> None:
        """Wait until a process has ended, at most so many seconds."""
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"no end within {limit:.0f} s\n{self.explain()}") from None

    def said(self) -> str:
        """Return what the last commands have printed so far."""
        return (self.folder.parent / "said").read_text(errors="replace")

    def explain(self) -> str:
        """Return that, and what the containers have logged."""
        return "\n".join([self.said(), *(f"{one.docker.name}:\n{one.logs()}" for one in self.containers())])

    def answers(self) -> str:
        """Return what a container that was started here answers at port 80, empty if none does yet."""
        for container in self.containers():
            if container.docker.status == "running" and container.docker.ports.get("80/tcp"):
                with suppress(AssertionError):
                    return container.get("/")[1]
        return ""

    def containers(self) -> list[Container]:
        """Return the containers that were started here."""
        list_all = partial(self.client.containers.list, all=True, ignore_removed=True)
        marks = (self.label, f"com.docker.compose.project={self.name}")
        return [Container(one) for mark in marks for one in list_all(filters={"label": mark})]

    def close(self) -> None:
        """Remove whatever was made."""
        for container in self.containers():
            remove(container.docker)
        for network in self.client.networks.list(filters={"label": f"com.docker.compose.project={self.name}"}):
            network.remove()
        for image in self.client.images.list():
            for tag in image.tags:
                if tag.startswith(self.name):
                    with suppress(NotFound):
                        self.client.images.remove(tag)


@contextmanager
def shell(folder: Path, engine: Engine) -> Iterator[Shell]:
    """Give a shell in a folder of its own."""
    made = Shell(folder, engine)
    try:
        yield made
    finally:
        made.close()
