"""Finds, fetches and verifies the attestations of wheels. https://peps.python.org/pep-0740/

An attestation says which workflow published a file, and is signed with an identity of Sigstore.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from urllib.parse import urljoin

import requests

from imagematrix.errors import explained

_JSON = "application/vnd.pypi.simple.v1+json"
"""The form in which an index names attestations, https://packaging.python.org/specifications/simple-repository-api/."""
_LIMIT = 60.0
"""Seconds to wait for each part of an answer."""


class AttestationError(Exception):
    """An attestation is wrong or cannot be read; the text is one line that names the file and the reason."""


@dataclass(frozen=True)
class Attested:
    """A file with an attestation: its name, its SHA-256 in hexadecimal, and the address of its provenance."""

    name: str
    digest: str
    provenance: str


@cache
def offered(index: str, project: str) -> Mapping[str, Attested]:
    """Return the files of a project that have an attestation, by their hashes as locks write them.

    An index without JSON has none, nor has a folder. Raises AttestationError if the index does not answer.
    """
    if not index.startswith(("https://", "http://")):
        return {}
    page = f"{index.rstrip('/')}/{project}/"
    try:
        answer = requests.get(page, headers={"Accept": f"{_JSON}, text/html;q=0.1"}, timeout=_LIMIT)
        answer.raise_for_status()
        if answer.headers.get("Content-Type", "").partition(";")[0] != _JSON:
            return {}
        files = [
            Attested(file["filename"], file["hashes"]["sha256"], urljoin(answer.url, file["provenance"]))
            for file in answer.json()["files"]
            if file.get("provenance")
        ]
    except (OSError, ValueError, LookupError) as error:
        raise AttestationError(f"{page}: cannot be read: {explained(error)}") from None
    return {f"sha256:{file.digest}": file for file in files}


@cache
def verify(file: Attested) -> None:
    """Verify each attestation of a file: signature, log, publisher, and that it is of this name and these bytes.

    The keys of Sigstore come with the library, so no other server is asked; `make lock` updates it in requirements.txt.
    The publisher is the one that the index names. Raises AttestationError.
    """
    from pypi_attestations import (  # slow to import, and most indexes have none
        Distribution,
        Provenance,
    )
    from sigstore.errors import Error

    logging.getLogger("sigstore").setLevel(logging.ERROR)  # it warns that it is offline, which is intended
    try:
        answer = requests.get(file.provenance, timeout=_LIMIT)
        answer.raise_for_status()
        bundles = Provenance.model_validate_json(answer.content).attestation_bundles
        pairs = [(bundle.publisher, attestation) for bundle in bundles for attestation in bundle.attestations]
        for publisher, attestation in pairs:
            attestation.verify(publisher, Distribution(name=file.name, digest=file.digest), offline=True)
    except (OSError, ValueError, Error) as error:
        raise AttestationError(f"{file.name}: its attestation is refused: {explained(error)}") from None
    if not pairs:
        raise AttestationError(f"{file.name}: its attestation is refused: {file.provenance} holds none")
