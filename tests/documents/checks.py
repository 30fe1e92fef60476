"""What a block of each kind must be, without a container engine. A check raises an exception where it is not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.conftest import verbs
from tests.documents.blocks import ALL, Block
from tests.local import SCRIPTS, need
from tests.runtime.certificates import Authority


def passes(command: Sequence[str | Path], text: str = "", folder: str | None = None) -> None:
    """Run a program on a text, in a folder; it must end with status 0."""
    done = subprocess.run(command, input=text, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{text}"


def dockerfile(block: Block) -> None:
    # DL3007, DL3013: an example may take the newest. DL3045: the image has a working directory.
    passes([SCRIPTS / "hadolint", "--ignore=DL3007", "--ignore=DL3013", "--ignore=DL3045", "-"], block.text)


def shell(block: Block) -> None:
    passes([SCRIPTS / "shellcheck", "--shell=sh", "-"], block.text)
    made = set(re.findall(r"^make ([a-z-]+)", block.text, re.MULTILINE))
    unknown = made - {*verbs()}
    assert not unknown, f"{block}: the Makefile has no {', '.join(unknown)}"


def compose(block: Block) -> None:
    """A compose file, or one that overrides that before it."""
    program = SCRIPTS / "docker-compose"
    if not program.exists():
        pytest.skip("Docker Compose has no wheel for this machine or Python")
    before = [one for one in ALL if one.document == block.document and one.line < block.line and one.kind == "compose"]
    with tempfile.TemporaryDirectory() as folder:
        for one in [*before, block]:
            Path(folder, one.file or "compose.yaml").write_text(one.text)
        passes([program, "config", "--quiet"], folder=folder)


def kubernetes(block: Block) -> None:
    for manifest in yaml.safe_load_all(block.text):
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def as_here(text: str, folder: Path) -> str:
    """Return a proxy's configuration with a certificate and a server that this machine has."""
    pair = [Path(path).read_text() for path in Authority(folder).issue()]
    both = folder / "both.pem"
    both.write_text("".join(pair))
    return re.sub(r"(?<=[\s/])app(?=:\d)", "127.0.0.1", re.sub(r"/etc/[\w/-]+\.pem", str(both), text))


def haproxy(block: Block) -> None:
    """A whole configuration but for its limits, or a backend."""
    need("haproxy", package="haproxy")
    limits = "".join(f"  timeout {one} 1s\n" for one in ("connect", "client", "server"))
    listener = "" if "frontend" in block.text else "frontend any\n  bind 127.0.0.1:80\n"
    with tempfile.TemporaryDirectory() as folder:
        text = as_here(block.text, Path(folder))
        passes(["haproxy", "-c", "-f", "/dev/stdin"], f"defaults\n  mode http\n{limits}{listener}{text}")


def nginx(block: Block) -> None:
    """What stands in the `http` of a configuration."""
    need("nginx", package="nginx-light")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "nginx.conf")
        text = as_here(block.text, Path(folder))
        file.write_text(f"pid {folder}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{text}}}\n")
        passes(["nginx", "-t", "-q", "-p", folder, "-e", "stderr", "-c", file])


def caddyfile(block: Block) -> None:
    need("caddy", package="caddy")
    passes(["caddy", "validate", "--adapter", "caddyfile", "--config", "-"], block.text)


def python(block: Block) -> None:
    compile(block.text, str(block), "exec")
    passes([sys.executable, "-m", "ruff", "check", "--no-cache", "--isolated", "--select=E,F", "-"], block.text)


CHECKS: dict[str, Callable[[Block], object]] = {
    "caddyfile": caddyfile,
    "compose": compose,
    "dockerfile": dockerfile,
    "haproxy": haproxy,
    "json": lambda block: json.loads(block.text),
    "kubernetes": kubernetes,
    "nginx": nginx,
    "python": python,
    "sh": shell,
}
