"""The container engine: the one that answers, else one that is installed and started here.

Run it as `python -m imagematrix.machine.engine ensure|stop|status`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from functools import cached_property

from docker.client import DockerClient
from docker.errors import DockerException

from imagematrix.errors import UserError, exit_status
from imagematrix.machine import address, cache, clients, dockerd


@dataclass(frozen=True)
class Engine:
    """An engine that has answered, and the clients that work with it, which are looked for when first needed."""

    host: str  # a value for DOCKER_HOST
    started_here: bool  # by `ensure`, now or in an earlier run

    @cached_property
    def docker(self) -> list[str]:
        """The argv of a docker client. Raises UserError where there is none and none can be installed."""
        return clients.docker_client(self.host)

    @cached_property
    def buildx(self) -> list[str]:
        """The argv to be followed by "bake" and so on; raises UserError as `docker` does."""
        return clients.buildx(self.host)

    def client(self) -> DockerClient:
        """Return a client of the engine's API. Raises UserError when it has gone."""
        try:
            return address.connect(self.host, timeout=600)
        except DockerException as error:
            raise UserError(f"the engine at {self.host} no longer answers: {error}") from error


def ensure() -> Engine:
    """Return the engine that answers; where none does, install and start one, saying so.

    Raises UserError saying what to do where that is not possible: an engine that DOCKER_HOST or the docker context
    names does not answer, no root, not Debian or Ubuntu, or the daemon does not come up.
    """
    where = address.configured_host()
    with cache.locked("engine"):
        reason = address.why_silent(where)
        if reason is not None:
            if where != address.DEFAULT_HOST:
                raise UserError(f"the engine at {where} (DOCKER_HOST or docker context) does not answer: {reason}")
            dockerd.start(reason)
        return Engine(where, dockerd.own_daemon() is not None)


def main(arguments: list[str] | None = None) -> int:
    """Run `python -m imagematrix.machine.engine`; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m imagematrix.machine.engine", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("verb", choices=["ensure", "stop", "status"], help="status: exit 1 when no engine answers")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(arguments)

    if options.verb == "stop":
        dockerd.stop()
        return 0
    if options.verb == "ensure":
        engine = ensure()
        facts = {
            "host": engine.host,
            "docker": engine.docker,
            "buildx": engine.buildx,
            "started_here": engine.started_here,
        }
    else:
        where = address.configured_host()
        reason = address.why_silent(where)
        facts = {"host": where, "answers": reason is None, "started_here": dockerd.own_daemon() is not None}
        facts |= {"reason": reason} if reason else {}
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        for name, value in facts.items():
            print(f"{name}: {' '.join(value) if isinstance(value, list) else value}")
    return 0 if facts.get("answers", True) else 1


if __name__ == "__main__":
    sys.exit(exit_status(main))
