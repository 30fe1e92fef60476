"""Signatures and attestations, by cosign: with a key pair (COSIGN_KEY), or keyless where GitHub vouches for the run."""

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from imagematrix.errors import UserError
from imagematrix.machine import apt, artefacts
from imagematrix.registry import complaint

LIMIT = 300.0
_NOBODY = {
    "signing-config": {"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json"},
    "trusted-root": {"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"},
}
"""No transparency log, no time-stamping authority: a signature by one's own key is not announced to the world."""


@dataclass(frozen=True)
class Signer:
    """cosign and, unless GitHub vouches, the key to sign with."""

    cosign: str
    key: str | None

    def sign(self, reference: str) -> None:
        """Sign an index and every image in it. Raises UserError."""
        self._run(["sign", "--recursive", reference])

    def attest(self, reference: str, kind: str, predicate: dict[str, object]) -> None:
        """Attach a signed statement of that kind about an image to it. Raises UserError."""
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(predicate, file)
            file.flush()
            self._run(["attest", "--type", kind, "--predicate", file.name, reference])

    def _run(self, arguments: list[str]) -> None:
        verb, *rest = arguments
        with tempfile.TemporaryDirectory(prefix="cosign-") as scratch:
            options = ["--key", self.key] if self.key else []
            for option, content in _NOBODY.items() if self.key else ():
                file = Path(scratch, option)
                file.write_text(json.dumps(content), encoding="utf-8")
                options += [f"--{option}", str(file)]
            command = [self.cosign, verb, "--yes", *options, *rest]
            try:
                done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT)
            except subprocess.TimeoutExpired:
                raise UserError(f"cosign {verb} did not end within {LIMIT:.0f} s") from None
        if done.returncode:
            raise UserError(f"cosign {verb}: {complaint(done.stderr)}")


def find() -> Signer:
    """Return what to sign with. Raises UserError saying what is missing."""
    key = os.environ.get("COSIGN_KEY")
    if not key and not os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL"):
        raise UserError(
            "nothing to sign with: set COSIGN_KEY (cosign generate-key-pair) and COSIGN_PASSWORD, "
            "run on GitHub with `id-token: write`, or say --unsigned"
        )
    if key and "://" not in key and not Path(key).is_file():
        raise UserError(f"COSIGN_KEY: there is no file {key}")
    return Signer(cosign(), key)


def cosign() -> str:
    """Return a cosign: the machine's, or on Debian and Ubuntu the one of Debian unstable, not installed."""
    found = shutil.which("cosign")
    if found:
        return found
    if not apt.is_debian():
        raise UserError("cosign is missing: https://docs.sigstore.dev/cosign/system_config/installation/")
    # Can go when Debian's current stable has cosign 3.
    return str(artefacts.make_artefact("cosign", "debian-package.sh", ["sid", "cosign"]) / "usr/bin/cosign")
