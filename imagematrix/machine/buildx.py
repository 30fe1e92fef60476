"""The buildx that works with an engine."""

import os
import shutil
import subprocess
from pathlib import Path

from imagematrix.errors import UserError
from imagematrix.machine import apt, artefacts, cache, dockerd


def _works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _installed(program: str) -> list[str]:
    """Return all executables of that name in PATH and the system's folders, in order."""
    folders = f"{os.environ.get('PATH', '')}:{dockerd.SYSTEM_PATH}".split(":")
    found = (shutil.which(program, path=folder) for folder in dict.fromkeys(folders) if folder)
    return [path for path in found if path]


def command(address: str) -> list[str]:
    """Return the argv of a buildx for the engine. It is installed if there is none. Raises UserError."""
    for path in _installed("docker"):
        plugin = [path, "--host", address, "buildx"]
        if _works([*plugin, "version"]):
            return plugin
    # As a program of its own buildx works without a docker client. It leaves ~/.docker alone, unless the user's
    # builders are there already.
    variables = [f"DOCKER_HOST={address}"]
    docker_folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    if "BUILDX_CONFIG" not in os.environ and not (docker_folder / "buildx").exists():
        variables.append(f"BUILDX_CONFIG={cache.cache_folder() / 'buildx'}")
    return ["env", "-u", "DOCKER_CONTEXT", *variables, str(_standalone())]


def _standalone() -> Path:
    plugin = Path("/usr/libexec/docker/cli-plugins/docker-buildx")
    unpacked = Path(f"{artefacts.artefact_path('docker-buildx')}{plugin}")
    for candidate in [*map(Path, _installed("docker-buildx")), plugin, unpacked]:
        if _works([str(candidate), "version"]):
            return candidate
    if not apt.is_debian():
        raise UserError("docker buildx is missing: install it (https://github.com/docker/buildx#installing)")
    if apt.has_package("docker-buildx") and os.geteuid() == 0:
        apt.install_packages(["docker-buildx"], "docker buildx")
        return plugin
    # Debian 12 has no buildx; the one of Debian's current stable release runs on it. Can go when Debian 12 does.
    artefacts.make_artefact("docker-buildx", "debian-package.sh", ["stable", "docker-buildx"])
    return unpacked
