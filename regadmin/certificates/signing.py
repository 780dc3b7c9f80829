"""The key that signs registry tokens, and the certificate by which the registry trusts them.

A token carries its certificate in the header `x5c`; the registry accepts it when that certificate is in, or
was issued by one in, its `rootcertbundle`, and is not out of date (distribution, registry/auth/token).
"""

import base64

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

WARNING_DAYS = 90
"""Warn from this many days before the certificate ends: a new one needs a planned restart of the registry,
which reads its `rootcertbundle` only when it starts."""

DAY = 24 * 60 * 60

SMALLEST_RSA_KEY = 2048
"""Bits (RFC 7518, section 3.3)."""

EC_ALGORITHMS = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
"""The JWS algorithm of each curve that distribution 2.8 and 3.x both take (RFC 7518, section 3.4)."""

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class SigningKey:
    """Signs tokens that the registry accepts.

    `not_after` is the last second (UTC, since 1970) at which the registry accepts them; `fingerprint` is the
    certificate's SHA-256 as `openssl x509 -fingerprint` prints it; `certificate_pem` is the whole file.
    """

    def __init__(self, private_key: PrivateKey, certificate: x509.Certificate, certificate_pem: str):
        self._private_key = private_key
        self.algorithm = algorithm_of(private_key)
        self.public_key = private_key.public_key()
        self.certificate_pem = certificate_pem
        self.fingerprint = certificate.fingerprint(hashes.SHA256()).hex(":").upper()
        self.not_after = int(certificate.not_valid_after_utc.timestamp())
        der = certificate.public_bytes(serialization.Encoding.DER)
        self._headers = {"x5c": [base64.b64encode(der).decode()]}

    def sign(self, claims: dict) -> str:
        """`claims` as a compact JWT whose header holds `typ`, `alg` and `x5c`, and nothing else."""
        return jwt.encode(claims, self._private_key, self.algorithm, headers=self._headers)

    def days_left(self, now: int) -> int:
        """Whole days until the certificate ends; negative when it has."""
        return (self.not_after - int(now)) // DAY


def algorithm_of(private_key) -> str:
    """The JWS algorithm that this key signs with, or '' when the registry could not check it."""
    if isinstance(private_key, rsa.RSAPrivateKey):
        return "RS256" if private_key.key_size >= SMALLEST_RSA_KEY else ""
    if isinstance(private_key, ec.EllipticCurvePrivateKey):
        return EC_ALGORITHMS.get(private_key.curve.name, "")
    return ""
