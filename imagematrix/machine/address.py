"""Where the container engine listens, and whether it answers."""

import os

from docker.client import DockerClient, from_env
from docker.context import ContextAPI
from docker.context.config import get_current_context_name
from docker.errors import DockerException

from imagematrix.errors import UserError

DEFAULT_HOST = "unix:///var/run/docker.sock"


def configured_host() -> str:
    """Return the address of DOCKER_HOST, or else of the docker context, in the order of the docker client."""
    if address := os.environ.get("DOCKER_HOST"):
        return address
    name = os.environ.get("DOCKER_CONTEXT") or get_current_context_name()
    if name == "default":
        return DEFAULT_HOST
    context = ContextAPI.get_context(name)
    if context is None:
        raise UserError(f"the docker context {name!r} does not exist; `docker context ls` lists those that do")
    return str(context.Host)


def why_silent(address: str) -> str | None:
    """Ping an engine; return why it does not answer, None if it does."""
    try:
        client = connect(address, timeout=5)
        client.ping()
        client.close()
    except (DockerException, OSError) as error:
        if "Permission denied" in str(error):
            return "permission denied: be root or in the group docker"
        return "nothing listens there" if "No such file" in str(error) or "refused" in str(error) else str(error)
    return None


def connect(address: str, timeout: int) -> DockerClient:
    """Return a client of the engine at an address; `timeout` in seconds."""
    environment = {**os.environ, "DOCKER_HOST": address}  # from_env reads TLS settings too
    return from_env(environment=environment, timeout=timeout, use_ssh_client=address.startswith("ssh://"))
