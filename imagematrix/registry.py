"""What is read from and written to an image registry, by `docker buildx imagetools`: with the engine's own login, so
that no credential ever passes through here.

Not for pushing layers, which the builder does by itself (imagematrix.publish.push), and not for deciding anything.
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
"""Seconds for one exchange with a registry; tags and manifests are small."""
AT_ONCE = 8
"""How many questions a registry is asked at once; they mostly wait for the network."""


class RegistryError(UserError):
    """The registry gave no answer that could be used; the text says which and why."""


@dataclass(frozen=True)
class Published:
    """What a tag or digest of a registry names: the index's digest, each platform's digest, and the labels."""

    digest: str
    platforms: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


class Registry:
    """A registry, seen through a buildx command line."""

    def __init__(self, buildx: Sequence[str]) -> None:
        self.buildx = list(buildx)

    def inspect(self, reference: str) -> Published | None:
        """Return what a reference names, None if there is nothing. Raises RegistryError when no answer came."""
        answer = self._run(["inspect", "--format", "{{json .}}", reference], reference)
        return None if answer is None else parse(json.loads(answer))

    def digest(self, reference: str) -> str | None:
        """Return the digest of what a reference names, None if there is nothing."""
        answer = self._run(["inspect", "--format", "{{json .Manifest}}", reference], reference)
        return None if answer is None else str(json.loads(answer)["digest"])

    def tag(self, source: str, references: Iterable[str]) -> None:
        """Have every reference name what `source`, a name with a digest, names. Raises RegistryError."""
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
    """Read what `imagetools inspect` says; a manifest of one platform counts as an index of one.

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
    """Return a platform as matrix.yaml writes it; arm64 has a variant, v8, that is always meant."""
    return f"{entry['os']}/{entry['architecture']}"


def complaint(output: str) -> str:
    """Return the line in which a command says why it failed, without its colours and without `ERROR:`."""
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", output).splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")] or lines or ["failed without a word"]
    return re.sub(r"^(?i:error):\s*(failed to solve:\s*)?", "", errors[-1])


def is_loopback(host: str) -> bool:
    """Say whether a registry is on this machine only."""
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    try:
        return name == "localhost" or ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def has_login(host: str) -> bool:
    """Say whether the docker client is logged in to a registry; what with is not looked at."""
    return bool(load_config().resolve_authconfig(host))
