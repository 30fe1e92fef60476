"""Certificates for tests: an authority, a server's for localhost, a client's, each with its key."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Issues certificates into files of `directory`; its own is `ca.pem`."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.ca = directory / "ca.pem"
        self.ca.write_bytes(self._certificate(self.name, self.key, is_authority=True))

    def issue(self, name: str = "localhost", file: str = "server", password: bytes | None = None) -> tuple[str, str]:
        """Write FILE.pem and FILE.key and return their paths."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate, private = self.directory / f"{file}.pem", self.directory / f"{file}.key"
        certificate.write_bytes(self._certificate(subject, key))
        encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        private.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        )
        return str(certificate), str(private)

    def tls(self) -> dict[str, Any]:
        """Issue a certificate, and return the variables with which a server speaks TLS on a port of its own."""
        certificate, key = self.issue()
        return {"USE_SSL": "true", "SSL_PORT": 0, "CERTFILE": certificate, "KEYFILE": key}

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, is_authority: bool = False) -> bytes:
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if not is_authority:
            names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
