"""Signs images and attestations with cosign: with a key pair (COSIGN_KEY), or with the identity of a run on GitHub."""

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
"""Without a transparency log and a time-stamping authority: signatures with one's own key are not made public."""


@dataclass(frozen=True)
class Signer:
    """cosign, and the key to sign with. On GitHub there may be none."""

    cosign: str
    key: str | None

    def sign(self, reference: str) -> None:
        """Sign an index and every image in it. Raises UserError."""
        self._run(["sign", "--recursive", reference])

    def attest(self, reference: str, kind: str, predicate: dict[str, object]) -> None:
        """Attach a signed statement about an image to it. Raises UserError."""
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
    """Return what to sign with. Raises UserError that says what is missing."""
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
    """Return the path of cosign: the machine's, or on Debian and Ubuntu an unpacked package of Debian unstable."""
    found = shutil.which("cosign")
    if found:
        return found
    if not apt.is_debian():
        raise UserError("cosign is missing: https://docs.sigstore.dev/cosign/system_config/installation/")
    # Can go when Debian's current stable has cosign 3.
    return str(artefacts.make_artefact("cosign", "debian-package.sh", ["sid", "cosign"]) / "usr/bin/cosign")
