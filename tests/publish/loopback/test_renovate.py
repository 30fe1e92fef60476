"""Real Renovate, from npm: what it offers for each form of tag is what tests/matrix/test_bots.py says."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from imagematrix.machine.cache import cache_folder, locked
from tests.documents.blocks import texts
from tests.matrix.test_bots import TAGS, offered, renovate, with_rules
from tests.publish.loopback.conftest import git
from tests.publish.loopback.registry import Registry

RENOVATE = "renovate@39"
"""The last that runs on Node.js 20."""
FORMS = (
    *("3.13", "3.13-slim", "3.13-alpine", "3.13-slim-trixie", "3.13-alpine3.24", "0.18.0-python3.14-slim"),
    *("python3.13-slim", "python3.13", "python3.13-slim-20261122", "python3.13-20261122"),
    *("3", "3-slim", "3-alpine", "latest", "slim", "alpine"),
)
MANIFEST, CONFIG = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.config.v1+json"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def program() -> Path:
    """Renovate, installed once into the cache folder."""
    if not shutil.which("npm"):
        pytest.skip("Renovate needs Node.js and npm")
    folder = cache_folder() / "renovate"
    with locked("renovate"):
        command = ["npm", "install", "--prefix", folder, "--ignore-scripts", "--omit=optional", "--no-audit", RENOVATE]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=900)
    return folder / "node_modules/renovate/dist/renovate.js"


@pytest.fixture(scope="module")
def image(registry: Registry) -> str:
    """An image without layers that has every tag."""
    name = f"{registry.address}/bots/hypercorn"
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).encode()
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    place = send("POST", f"http://{registry.address}/v2/bots/hypercorn/blobs/uploads/", b"", "text/plain")
    send("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", config, "application/octet-stream")
    described = {"mediaType": CONFIG, "digest": digest, "size": len(config)}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": []}).encode()
    for tag in TAGS:
        send("PUT", f"http://{registry.address}/v2/bots/hypercorn/manifests/{tag}", manifest, MANIFEST)
    return name


def send(method: str, url: str, body: bytes, kind: str) -> str:
    """Send a request that must succeed; return where the answer points."""
    request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(answer.headers.get("Location", ""))


def write(root: Path, image: str, rules: dict[str, Any]) -> None:
    """Make a repository that uses every form in a Dockerfile, a compose file and a Kubernetes manifest."""
    (root / "k8s").mkdir(parents=True)
    services, pods = [], []
    for number, tag in enumerate(FORMS):
        (root / f"{number}").mkdir()
        (root / f"{number}/Dockerfile").write_text(f"FROM {image}:{tag}\n")
        services.append(f"  s{number}:\n    image: {image}:{tag}\n")
        spec = f"spec:\n  containers:\n    - name: c\n      image: {image}:{tag}\n"
        pods.append(f"apiVersion: v1\nkind: Pod\nmetadata: {{name: p{number}}}\n{spec}")
    (root / "compose.yaml").write_text("services:\n" + "".join(services))
    (root / "k8s/pods.yaml").write_text("---\n".join(pods))
    (root / "renovate.json").write_text(json.dumps({"kubernetes": {"fileMatch": [r"k8s/.+\.yaml$"]}, **rules}))
    git(root, "init", "-q")
    git(root, "add", "-A")


def documented(image: str) -> dict[str, Any]:
    """Return the rules of docs/tags.md, for this image."""
    (block,) = texts("docs/tags.md", "json")
    rules: dict[str, Any] = json.loads(block)
    for rule in rules["packageRules"]:
        rule["matchPackageNames"] = [image]
    return rules


def run(program: Path, root: Path, address: str) -> dict[str, dict[str, set[str]]]:
    """Return what Renovate offers: manager -> tag -> tags."""
    environment = {
        **os.environ,
        "LOG_LEVEL": "debug",
        "LOG_FORMAT": "json",
        "RENOVATE_BASE_DIR": str(root.parent / "renovate"),
        "RENOVATE_HOST_RULES": json.dumps([{"matchHost": address, "insecureRegistry": True}]),
    }
    command = ["node", program, "--platform=local", "--onboarding=false"]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=300)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    (found,) = [line["config"] for line in lines if line["msg"] == "packageFiles with updates"]
    return {
        manager: {
            each["currentValue"]: {update["newValue"] for update in each.get("updates", [])}
            for file in files
            for each in file["deps"]
        }
        for manager, files in found.items()
    }


@pytest.mark.parametrize("documented_rules", [False, True], ids=["without rules", "with the rules of docs/tags.md"])
def test_renovate_offers_the_right_update_for_each_form(
    program: Path, image: str, registry: Registry, tmp_path: Path, documented_rules: bool
) -> None:
    write(tmp_path / "repository", image, documented(image) if documented_rules else {})
    found = run(program, tmp_path / "repository", registry.address)
    read = with_rules if documented_rules else renovate
    wanted = {tag: offered(read, tag) for tag in FORMS}
    assert found == dict.fromkeys(("docker-compose", "dockerfile", "kubernetes"), wanted)
