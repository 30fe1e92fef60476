"""Runs `docker buildx bake`, with the secrets that pip needs on this machine. Nothing else runs it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

from imagematrix.machine import build_secrets

FILE = "build/docker-bake.json"


def bake(
    buildx: Sequence[str],
    root: Path,
    overrides: Mapping[str, Mapping[str, object]],
    targets: Iterable[str],
    options: Sequence[str] = (),
    log: IO[bytes] | None = None,
) -> tuple[bool, str]:
    """Build targets of the bake file below `root`; return whether all were built, and the output if it is known.

    `overrides` are settings to add to each target. The output goes to `log`, or else to standard error. A terminal
    shows BuildKit's progress display; if a target fails, a second run with plain output finds out which.
    """
    secrets = [f"id={name},src={path}" for name, path in build_secrets.build_secrets().items()]
    added = {target: {**settings, "secret": secrets} for target, settings in overrides.items()}
    # Without it buildx asks for permission to read the files of secrets, which are outside of the context:
    # https://docs.docker.com/reference/cli/docker/buildx/bake/#allow
    environment = {**os.environ, "BUILDX_BAKE_ENTITLEMENTS_FS": "0", "DOCKER_BUILDKIT": "1"}
    with tempfile.TemporaryDirectory(prefix="bake-") as scratch:
        override = Path(scratch, "override.json")
        override.write_text(json.dumps({"target": added}), encoding="utf-8")
        command = [*buildx, "bake", "-f", FILE, "-f", str(override), *options]
        plain = [*command, "--progress", "plain", *targets]
        if log is not None:
            done = subprocess.run(plain, cwd=root, env=environment, stdout=log, stderr=subprocess.STDOUT)
            return done.returncode == 0, ""
        if sys.stderr.isatty() and subprocess.run([*command, *targets], cwd=root, env=environment).returncode == 0:
            return True, ""
        return _tee(plain, root, environment)


def _tee(command: list[str], folder: Path, environment: Mapping[str, str]) -> tuple[bool, str]:
    """Run a command and print its output at once; return whether it succeeded, and the output."""
    lines = []
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            sys.stderr.write(line)
            lines.append(line)
    return process.returncode == 0, "".join(lines)
