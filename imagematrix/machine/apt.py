"""Debian packages of this machine: which are installed, and installing more as root."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from imagematrix.console import say
from imagematrix.errors import UserError
from imagematrix.machine import cache

_APT = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]


def is_debian() -> bool:
    """Say whether this is Debian, Ubuntu or a distribution based on them, with apt."""
    try:
        lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    names = " ".join(line.partition("=")[2] for line in lines if line.startswith(("ID=", "ID_LIKE=")))
    return {"debian", "ubuntu"} & set(names.replace('"', " ").split()) != set() and shutil.which("apt-get") is not None


def _is_installed(package: str) -> bool:
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout == "installed"


def has_package(package: str) -> bool:
    """Say whether apt on this machine can install a package of that name."""
    query = ["apt-cache", "show", "--no-all-versions", package]
    return subprocess.run(query, capture_output=True, check=False).returncode == 0


def install_packages(packages: Iterable[str], purpose: str) -> None:
    """Install the Debian packages that are missing, and say so.

    Raises UserError that names them if this is not Debian, if the user is not root, or if apt fails.
    """
    wanted = list(packages)
    if not is_debian():
        raise UserError(
            f"{purpose} needs {', '.join(wanted)}: install them (done by itself on Debian and Ubuntu, as root)"
        )
    missing = [package for package in wanted if not _is_installed(package)]
    if not missing:
        return
    if os.geteuid() != 0:
        raise UserError(f"{purpose} needs packages that are missing: sudo apt-get install {' '.join(missing)}")
    say(f"installing with apt, for {purpose}: {' '.join(missing)}")
    with cache.locked("apt-get"):
        command = [*_APT, "install", "-y", "--no-install-recommends", *missing]
        log = cache.logged(command, "apt-install")
        if log is None:
            return
        # Usually the package lists are missing or old.
        cache.logged([*_APT, "update"], "apt-update")
        log = cache.logged(command, "apt-install")
    if log is not None:
        raise UserError(f"apt could not install {' '.join(missing)}; its words are in {log}\n{cache.tail(log)}")
