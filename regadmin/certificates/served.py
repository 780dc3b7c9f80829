"""The certificate that browsers and docker see, taken up anew when its files change."""

import logging
import ssl
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from regadmin.errors import Misconfigured

log = logging.getLogger(__name__)


class ServedCertificate:
    """The certificate (with its chain) and the key in two files, or both in one.

    `context` is what new connections get; those that are open keep theirs. `ends` is the last second (UTC, since
    1970) of the certificate. Both are there after `load`. `clock` gives UTC seconds since 1970.
    """

    def __init__(self, certificate_path: Path, key_path: Path, clock: Callable[[], float]):
        self._certificate_path = certificate_path
        self._key_path = key_path
        self._clock = clock
        self._stamp: object = None
        self.context: ssl.SSLContext | None = None
        self.ends = 0

    def load(self) -> None:
        """Take up what the files hold. Raises Misconfigured, and keeps the old, unless they are sound and one pair."""
        self._stamp = self._stamp_of_files()
        certificate = read_pair(self._certificate_path, self._key_path)
        self.context = self._new_context()
        self.ends = int(certificate.not_valid_after_utc.timestamp())
        self._warn_of_dates(certificate)

    def term(self) -> tuple[int, int]:
        """First and last second of what the files hold now, whether it is served or not. Raises Misconfigured."""
        certificate = read_pair(self._certificate_path, self._key_path)
        moments = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        return tuple(int(moment.timestamp()) for moment in moments)

    def refresh(self) -> None:
        """Load again if a file changed. What cannot be loaded is logged once, and the old one stays."""
        if self._stamp_of_files() == self._stamp:
            return
        try:
            self.load()
        except Misconfigured as error:
            log.error("%s; serving on with the old certificate", error.message)
        else:
            log.info("serving with the new certificate of %s", self._certificate_path)

    def _new_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        try:
            # Without a password OpenSSL would ask for one at the terminal.
            context.load_cert_chain(self._certificate_path, self._key_path, password="")
        except OSError as error:
            reason = getattr(error, "reason", None) or error.strerror
            raise Misconfigured(f"{self._certificate_path} cannot be served with ({reason})")
        return context

    def _warn_of_dates(self, certificate: x509.Certificate) -> None:
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if self._clock() > ends.timestamp():
            log.warning("%s expired on %s: renew it", self._certificate_path, f"{ends:%Y-%m-%d}")
        elif self._clock() < begins.timestamp():
            log.warning(
                "%s is not valid before %s UTC: is the clock right?",
                self._certificate_path,
                f"{begins:%Y-%m-%d %H:%M}",
            )

    def _stamp_of_files(self) -> list[tuple | None]:
        return [_stamp(path) for path in (self._certificate_path, self._key_path)]


def read_pair(certificate_path: Path, key_path: Path) -> x509.Certificate:
    """The first certificate in a PEM file. Raises Misconfigured unless it is sound and the key is its own."""
    certificate = _read_certificate(certificate_path)
    if certificate.public_key() != _read_key(key_path).public_key():
        raise Misconfigured(
            f"{key_path} is not the key of the first certificate in {certificate_path}: put the matching one there"
        )
    return certificate


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(_bytes(path))[0]
    except (ValueError, IndexError, UnsupportedAlgorithm):
        raise Misconfigured(
            f"{path} is damaged or no certificate: put the certificate and its chain there, in PEM form"
        )


def _read_key(path: Path):
    try:
        return serialization.load_pem_private_key(_bytes(path), password=None)
    except TypeError:
        raise Misconfigured(f"{path} is protected by a passphrase: put the plain key there")
    except (ValueError, UnsupportedAlgorithm):
        raise Misconfigured(f"{path} is damaged or no key at all: put a PEM private key there")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read ({error.strerror}): make it a file that the server's user may read")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Tells one content of the file from another; None while there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
