"""Reads the signing key's three files and says in one sentence what is wrong with them."""

import base64
import re
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from regadmin import errors
from regadmin.certificates.signing import SMALLEST_RSA_KEY, PrivateKey, PublicKey, SigningKey, algorithm_of


def load(key_path: Path, public_key_path: Path, certificate_path: Path, now: int) -> SigningKey:
    """The signing key in these three files; `errors.Misconfigured` unless they are sound and one set."""
    private_key = _private_key(key_path)
    if _public_key(public_key_path) != private_key.public_key():
        raise errors.Misconfigured(
            f"{public_key_path} is not the public key of {key_path}: put the matching one there"
        )
    certificate_pem = _text(certificate_path)
    certificate = _certificate(certificate_path, certificate_pem, private_key.public_key())
    if certificate is None:
        raise errors.Misconfigured(
            f"{certificate_path} holds no certificate for {key_path}: put the matching one there"
        )
    _check_dates(certificate_path, certificate, now)
    return SigningKey(private_key, certificate, certificate_pem)


def _private_key(path: Path) -> PrivateKey:
    der = _body(path, "PRIVATE KEY")
    try:
        key = serialization.load_der_private_key(der, password=None)
    except TypeError:
        raise errors.Misconfigured(f"{path} is protected by a passphrase: put the plain key there")
    except (ValueError, UnsupportedAlgorithm):
        raise errors.Misconfigured(f"{path} is damaged or no key at all: put a PEM private key there")
    if not algorithm_of(key):
        raise errors.Misconfigured(
            f"{path} is of a type that the registry cannot check: use RSA from {SMALLEST_RSA_KEY} bits on,"
            " or EC on P-256, P-384 or P-521"
        )
    return key


def _public_key(path: Path) -> PublicKey:
    der = _body(path, "PUBLIC KEY")
    try:
        return serialization.load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        raise errors.Misconfigured(f"{path} is damaged or no key at all: put a PEM public key there")


def _certificate(path: Path, pem: str, public_key: PublicKey) -> x509.Certificate | None:
    """Of a bundle, the certificate of this key that holds longest: renewed ones may stand beside the old."""
    try:
        bundle = x509.load_pem_x509_certificates(pem.encode())
        own = [certificate for certificate in bundle if certificate.public_key() == public_key]
    except (ValueError, UnsupportedAlgorithm):
        raise errors.Misconfigured(f"{path} is damaged or no certificate: put a PEM certificate there")
    return max(own, key=lambda certificate: certificate.not_valid_after_utc, default=None)


def _check_dates(path: Path, certificate: x509.Certificate, now: int) -> None:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > ends.timestamp():
        raise errors.Misconfigured(
            f"{path} expired on {ends:%Y-%m-%d}: put a new certificate of the same key there,"
            " or remove key, public key and certificate to have all three made anew"
        )
    if now < begins.timestamp():
        raise errors.Misconfigured(
            f"{path} is not valid before {begins:%Y-%m-%d %H:%M} UTC: set the clock right,"
            " or use another certificate"
        )


def _body(path: Path, label: str) -> bytes:
    """The DER inside the first PEM block of `path` whose type ends in `label`.

    Read by hand: the original's keys carry a `keyID:` line inside the block, and some say `RSA PRIVATE KEY`
    or `RSA PUBLIC KEY` over what is PKCS#8 or SubjectPublicKeyInfo; PEM readers differ in refusing these.
    """
    block = re.search(rf"-----BEGIN ([A-Z ]*{label})-----(.*?)-----END \1-----", _text(path), re.DOTALL)
    if not block:
        raise errors.Misconfigured(f"{path} holds no {label} in PEM form: convert it, or put one there")
    lines = [line for line in block[2].splitlines() if ":" not in line]
    try:
        return base64.b64decode("".join(lines))
    except ValueError:
        raise errors.Misconfigured(f"{path} is damaged: put an intact PEM file there")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise errors.Misconfigured(
            f"{path} cannot be read ({error.strerror}): make it a file that the server's user may read"
        )
