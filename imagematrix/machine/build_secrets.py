"""Secrets for builds: the certificate authorities and pip's settings of this machine."""

import ast
import os
import subprocess
import sys
from pathlib import Path

from imagematrix.machine import cache
from imagematrix.writing import write_whole

CONTAINER_CA = "/etc/ssl/certs/ca-certificates.crt"  # where a build mounts the secret `ca`


def build_secrets() -> dict[str, Path]:
    """Return the files to pass to builds as secrets, so that pip in a build uses the same index as on this machine.

    `ca`: the certificate authorities this machine trusts (an intercepting proxy's among them), if there are any.
    `pipconf`: a pip.conf for /etc/pip.conf in the build, naming `ca` at CONTAINER_CA and keeping the machine's index.
    `cert` is for older versions of pip, which do not read the system's store.
    """
    names = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    candidates = [Path(os.environ[name]) for name in names if os.environ.get(name)] + [Path(CONTAINER_CA)]
    ca = next((path for path in candidates if path.is_file()), None)
    pipconf = cache.cache_folder() / "pip.conf"
    lines = ["[global]", *([f"cert = {CONTAINER_CA}"] if ca else [])]
    lines += [f"{name} = {value}" for name, value in usable_in_a_build(_pip_settings()).items()]
    text = "".join(f"{line}\n" for line in lines)
    write_whole(pipconf, text.encode(), 0o600)  # an index's address may hold a password
    return {**({"ca": ca} if ca else {}), "pipconf": pipconf}


def usable_in_a_build(settings: dict[str, str]) -> dict[str, str]:
    """Return the pip settings that work inside a build: addresses on the network, timeouts and retries."""
    kept = {}
    for name in ("index-url", "extra-index-url", "find-links", "proxy"):
        words = [word for word in settings.get(name, "").split() if word.startswith(("http://", "https://"))]
        if words:
            kept[name] = " ".join(words)
    for name in ("trusted-host", "timeout", "default-timeout", "retries"):
        if settings.get(name):
            kept[name.removeprefix("default-")] = " ".join(settings[name].split())
    return kept


def _pip_settings() -> dict[str, str]:
    """Return the settings of `pip config list` by option. The environment comes last. {} if there is no pip."""
    for command in ([sys.executable, "-m", "pip"], ["python3", "-m", "pip"]):
        try:
            listed = subprocess.run([*command, "config", "list"], capture_output=True, text=True, check=False)
        except OSError:
            continue
        if listed.returncode == 0:
            return parse_pip_settings(listed.stdout)
    return {}


def parse_pip_settings(listing: str) -> dict[str, str]:
    """Parse `pip config list`, lines like global.index-url='https://…' and :env:.timeout='180'."""
    settings: dict[str, str] = {}
    for from_environment in (False, True):
        for line in listing.splitlines():
            name, equals, value = line.partition("=")
            section, _, option = name.rpartition(".")
            if equals and section in ({":env:"} if from_environment else {"global", "install"}):
                settings[option] = str(ast.literal_eval(value))
    return settings
