"""Builders that can push by digest: those of BUILDER, or else one that is made in a container."""

import subprocess

from imagematrix import project
from imagematrix.console import say
from imagematrix.errors import UserError
from imagematrix.machine.engine import Engine


def builders(host_engine: Engine, named: str, *, dry_run: bool = False) -> list[str]:
    """Return the builders that BUILDER names. If it names none, return one of our own, and make it if it is missing.

    Raises UserError if a builder does not exist or cannot push by digest, or if none can be made. A dry run makes none.
    """
    names = [name for name in named.split(",") if name]
    for name in names:
        driver = _driver(host_engine, name)
        if driver in (None, "docker"):
            what = "is of the driver docker, which cannot push by digest" if driver else "does not exist"
            raise UserError(f"the builder {name} {what}; `docker buildx ls` lists those there are")
    if names:
        return names
    own = project.name()
    if _driver(host_engine, own) is None and not dry_run:
        say(f"making the builder {own}, a container with BuildKit")
        command = [*host_engine.buildx, "create", "--name", own, "--driver", "docker-container", "--bootstrap"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            subprocess.run([*host_engine.buildx, "rm", own], capture_output=True)
            raise UserError(
                f"no builder can be made here ({done.stderr.strip().splitlines()[-1]}): name one with BUILDER=, "
                "or make a stand-in: python -m imagematrix.machine.buildkit_standin start NAME"
            )
    return [own]


def _driver(host_engine: Engine, name: str) -> str | None:
    done = subprocess.run([*host_engine.buildx, "inspect", name], capture_output=True, text=True)
    lines = (line.partition(":") for line in done.stdout.splitlines())
    return next((value.strip() for key, _, value in lines if key == "Driver"), None) if done.returncode == 0 else None
