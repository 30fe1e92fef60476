"""Running programs of another platform: registers QEMU for them with the kernel, on Debian and Ubuntu as root.

On GitHub docker/setup-qemu-action does the same.
https://docs.kernel.org/admin-guide/binfmt-misc.html
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from imagematrix.console import say
from imagematrix.errors import UserError
from imagematrix.machine import apt, artefacts

BINFMT = Path("/proc/sys/fs/binfmt_misc")
_HANDLERS = {
    # An ELF file's first 20 bytes for the machine, and which bits of them count, as qemu's scripts/qemu-binfmt-conf.sh.
    "linux/arm64": (
        "qemu-aarch64",
        r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00",
        r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
    )
}


def ensure(platform: str) -> None:
    """Have the kernel run programs of a platform. Raises UserError, saying why, where it cannot be had."""
    if platform not in _HANDLERS:
        raise UserError(f"no emulator is known here for {platform}, only for {', '.join(_HANDLERS)}")
    name, magic, mask = _HANDLERS[platform]
    if os.uname().machine in ("aarch64", "arm64") or (BINFMT / name).exists():
        return
    if os.geteuid() != 0 or not apt.is_debian():
        raise UserError(f"programs of {platform} need root on Debian or Ubuntu here, or a binfmt handler named {name}")
    if not (BINFMT / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)], capture_output=True, check=False)
    # Of the release after Debian 12, whose own does not run what current compilers make.
    files = artefacts.make_artefact("qemu-user", "debian-package.sh", ["trixie", "qemu-user"])
    say(f"registering {name} with the kernel, to run programs of {platform}")
    try:
        # F: the kernel opens the emulator now, so it works in containers, which have not got it.
        (BINFMT / "register").write_text(f":{name}:M::{magic}:{mask}:{files}/usr/bin/{name}:F")
    except OSError as error:
        raise UserError(f"the kernel takes no handler for {platform}: {error}") from None
