"""The container engine: the one that answers, or else one that is installed and started here."""

from dataclasses import dataclass
from functools import cached_property

from docker.client import DockerClient
from docker.errors import DockerException

from imagematrix.errors import UserError
from imagematrix.machine import address, buildx, cache, dockerd


@dataclass(frozen=True)
class Engine:
    """An engine that has answered."""

    host: str  # a value for DOCKER_HOST

    @cached_property
    def buildx(self) -> list[str]:
        """The argv to be followed by "bake" and so on. Raises UserError if there is none and none can be installed."""
        return buildx.command(self.host)

    def client(self) -> DockerClient:
        """Return a client of the engine's API. Raises UserError if it no longer answers."""
        try:
            return address.connect(self.host, timeout=600)
        except DockerException as error:
            raise UserError(f"the engine at {self.host} no longer answers: {error}") from error


def ensure() -> Engine:
    """Return the engine that answers. If none does, install and start one, and say so.

    Raises UserError that says what to do if that is not possible: the engine of DOCKER_HOST or the docker context does
    not answer, the user is not root, this is not Debian or Ubuntu, or the daemon does not come up.
    """
    where = address.configured_host()
    with cache.locked("engine"):
        reason = address.why_silent(where)
        if reason is not None:
            if where != address.DEFAULT_HOST:
                raise UserError(f"the engine at {where} (DOCKER_HOST or docker context) does not answer: {reason}")
            dockerd.start(reason)
        return Engine(where)
