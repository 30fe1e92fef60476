"""Reads and tags images in a registry with `docker buildx imagetools`.

It uses the engine's login, so no credential passes through here. The builder pushes layers (imagematrix.publish.push).
"""

import ipaddress
import json
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from docker.auth import load_config

from imagematrix.errors import UserError

LIMIT = 300.0
"""Seconds for a request to a registry; tags and manifests are small."""
AT_ONCE = 8
"""Requests to a registry at the same time; they mostly wait for the network."""


class RegistryError(UserError):
    """The registry gave no usable answer. The text names the reference and the reason."""


@dataclass(frozen=True)
class Published:
    """The image behind a tag or digest in a registry: the index's digest, each platform's digest, and the labels."""

    digest: str
    platforms: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


class Registry:
    """A registry, seen through a buildx command line."""

    def __init__(self, buildx: Sequence[str]) -> None:
        self.buildx = list(buildx)

    def inspect(self, reference: str) -> Published | None:
        """Return the image behind a reference, None if there is none. Raises RegistryError."""
        answer = self._run(["inspect", "--format", "{{json .}}", reference], reference)
        return None if answer is None else parse(json.loads(answer))

    def digest(self, reference: str) -> str | None:
        """Return the digest of the image behind a reference, None if there is none. Raises RegistryError."""
        answer = self._run(["inspect", "--format", "{{json .Manifest}}", reference], reference)
        return None if answer is None else str(json.loads(answer)["digest"])

    def tag(self, source: str, references: Iterable[str]) -> None:
        """Tag the image `source`, a name with a digest, with every reference. Raises RegistryError."""
        tags = [word for reference in references for word in ("--tag", reference)]
        if self._run(["create", *tags, source], source) is None:
            raise RegistryError(f"{source}: is not in the registry")

    def _run(self, arguments: Sequence[str], reference: str) -> str | None:
        command = [*self.buildx, "imagetools", *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
        except subprocess.TimeoutExpired:
            raise RegistryError(f"{reference}: no answer from the registry within {LIMIT:.0f} s") from None
        if done.returncode == 0:
            return done.stdout
        reason = complaint(done.stderr)
        if reason.endswith(": not found"):
            return None
        raise RegistryError(reason if reference in reason else f"{reference}: {reason}")


def parse(answer: Mapping[str, Any]) -> Published:
    """Parse the output of `imagetools inspect`. A manifest of one platform counts as an index of one.

    The labels are the first platform's: our own do not differ between platforms.
    """
    manifest, image = answer["manifest"], answer.get("image") or {}
    digest = str(manifest["digest"])
    children = {_platform(child["platform"]): str(child["digest"]) for child in manifest.get("manifests") or ()}
    children = {platform: child for platform, child in children.items() if not platform.startswith("unknown")}
    if not children and "architecture" in image:
        children = {_platform(image): digest}
    first = image if "architecture" in image else next(iter(image.values()), {})
    return Published(digest, children, (first.get("config") or {}).get("Labels") or {})


def _platform(entry: Mapping[str, str]) -> str:
    """Return a platform as matrix.yaml writes it: linux/arm64 and not linux/arm64/v8."""
    return f"{entry['os']}/{entry['architecture']}"


def complaint(output: str) -> str:
    """Return the line of a command's output that says why it failed, without colours and without `ERROR:`."""
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", output).splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")] or lines or ["failed without output"]
    return re.sub(r"^(?i:error):\s*(failed to solve:\s*)?", "", errors[-1])


def is_loopback(host: str) -> bool:
    """Say whether a registry is on this machine only."""
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    try:
        return name == "localhost" or ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def has_login(host: str) -> bool:
    """Say whether the docker client is logged in to a registry. The credentials are not used."""
    return bool(load_config().resolve_authconfig(host))
