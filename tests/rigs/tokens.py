"""Certificates and tokens made by hand: what a registry must accept, independent of the product's code."""

import base64
import time
import uuid
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def self_signed(directory: Path, name: str = "localhost") -> tuple[Path, Path]:
    """Make a key and a certificate for `name` and 127.0.0.1; returns the certificate's and the key's path."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names = [x509.DNSName(name), x509.IPAddress(ip_address("127.0.0.1"))]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = directory / f"{name}.crt", directory / f"{name}.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return paths


class TokenSigner:
    """Signs whatever it is asked for. `settings` is what RealRegistry wants as `auth`."""

    def __init__(self, directory: Path, issuer: str = "an issuer", service: str = "a service"):
        self.issuer = issuer
        self.service = service
        self.bundle, key = self_signed(directory, "token-signer")
        self._key = key.read_text()
        certificate = x509.load_pem_x509_certificate(self.bundle.read_bytes())
        der = certificate.public_bytes(serialization.Encoding.DER)
        self._chain = [base64.b64encode(der).decode()]

    @property
    def settings(self) -> dict[str, str]:
        return {
            "realm": "https://auth.example/token?a=1,2",
            "service": self.service,
            "issuer": self.issuer,
            "rootcertbundle": str(self.bundle),
        }

    def authorize(self, scopes: tuple[str, ...]) -> str:
        """The Authorization header that grants these scopes."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": "tests",
            "aud": self.service,
            "nbf": now - 10,
            "iat": now,
            "exp": now + 300,
            "jti": uuid.uuid4().hex,
            "access": [_claim(scope) for scope in scopes],
        }
        return "Bearer " + jwt.encode(claims, self._key, "ES256", {"x5c": self._chain})


def _claim(scope: str) -> dict:
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    return {"type": kind, "name": name, "actions": actions.split(",")}
