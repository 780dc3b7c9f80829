"""When a certificate is asked for: at two thirds of the lifetime, and after a failure later and later."""

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from regadmin.certificates import writing
from regadmin.certificates.acme import Authority, OrderFailed
from regadmin.certificates.builder import build_certificate
from regadmin.certificates.served import read_pair
from regadmin.errors import Misconfigured

FIRST_DELAY, LAST_DELAY = 120, 24 * 60 * 60
"""Seconds between two tries, doubled with each failure: Let's Encrypt allows five failed checks of a name an hour."""

LONGEST_WAIT = 7 * LAST_DELAY
"""Seconds; whatever the authority says."""

INTERRUPTED = "the server was ended in the middle of the last try"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Status:
    """How it stands. Times are UTC seconds since 1970, 0 for never.

    `ends` is of the authority's certificate, 0 while there is none; `failure` is the sentence of the last try, ''
    if it succeeded.
    """

    ends: int
    last_success: int
    last_failure: int
    failure: str
    next_try: int


@dataclass(frozen=True, slots=True)
class _Tries:
    """What is kept over a restart, so that a server which crashes again and again spares the authority.

    `subject` is what was asked for, and where: another one may be tried at once.
    """

    subject: str
    failures: int = 0
    last_success: int = 0
    last_failure: int = 0
    failure: str = ""
    not_before: int = 0


class Renewal:
    """Keeps the file `certificate_path` (key, certificate and chain in one) good for `names`.

    `clock` gives UTC seconds since 1970.
    """

    def __init__(
        self,
        location: Path,
        names: Sequence[str],
        authority: Authority,
        clock: Callable[[], float],
    ):
        self.certificate_path = location / "certificate.pem"
        self._tries_path = location / "tries.json"
        self._names = sorted(names)
        self._authority = authority
        self._clock = clock
        self._subject = f"{authority.directory_url} {' '.join(self._names)}"
        # Readers of PEM skip what stands before the first block.
        self._origin = f"Issued by {authority.directory_url}\n".encode()

    def prepare(self) -> None:
        """Make the folder, and a self-signed certificate to begin with. Raises Misconfigured."""
        path = self.certificate_path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._certificate():
                writing.replace(path, self._self_signed())
        except OSError as error:
            raise Misconfigured(f"{error.filename or path} cannot be made: {error.strerror}") from None

    def run_if_due(self) -> bool:
        """Ask for a certificate if it is time to; failures are logged and kept. True: this was all for now."""
        try:
            if self._now() >= self.status().next_try:
                self._try()
        except OSError as error:
            place = error.filename or self.certificate_path.parent
            log.error("%s cannot be written (%s): no certificate is asked for", place, error.strerror)
        return True

    def status(self) -> Status:
        """As the files tell it: any process may ask."""
        tries, certificate = self._tries(), self._certificate()
        return Status(
            ends=_end(certificate) if certificate and not _is_self_signed(certificate) else 0,
            last_success=tries.last_success,
            last_failure=tries.last_failure,
            failure=tries.failure,
            next_try=max(self._due(certificate), tries.not_before),
        )

    def _try(self) -> None:
        # It counts as failed until it has not: a crash must not lead to the next try.
        self._keep_failure(tries := self._tries(), INTERRUPTED)
        try:
            self._replace(self._authority.issue(self._names))
        except OrderFailed as error:
            self._keep_failure(tries, error.message, error.retry_after)
            self._tell_failure()
            return
        self._keep(_Tries(self._subject, last_success=self._now(), last_failure=tries.last_failure))
        log.info("new certificate for %s until %s", ", ".join(self._names), _day(self.status().ends))

    def _replace(self, pem: bytes) -> None:
        try:
            certificate = x509.load_pem_x509_certificates(pem)[0]
        except (ValueError, IndexError):
            raise OrderFailed("the authority sent what is no certificate")
        key = serialization.load_pem_private_key(pem, password=None)
        if certificate.public_key() != key.public_key() or _names_of(certificate) != self._names:
            raise OrderFailed("the authority sent another certificate than was asked for")
        writing.replace(self.certificate_path, self._origin + pem)

    def _keep_failure(self, before: _Tries, sentence: str, retry_after: int = 0) -> None:
        now = self._now()
        delay = min(FIRST_DELAY << min(before.failures, 20), LAST_DELAY)
        wait = max(delay, min(retry_after, LONGEST_WAIT))
        failed = replace(
            before, failures=before.failures + 1, last_failure=now, failure=sentence, not_before=now + wait
        )
        self._keep(failed)

    def _tell_failure(self) -> None:
        status = self.status()
        serving = f"the old one, which ends on {_day(status.ends)}" if status.ends else "a self-signed one"
        log.error(
            "no new certificate for %s: %s; serving with %s; the next try is at %s"
            " (to try at once, remove %s and start again)",
            ", ".join(self._names),
            status.failure,
            serving,
            time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(status.next_try)),
            self._tries_path,
        )

    def _due(self, certificate: x509.Certificate | None) -> int:
        """When the certificate is to be replaced, 0 for at once."""
        if not certificate or not self._is_from_authority() or _names_of(certificate) != self._names:
            return 0
        begins = int(certificate.not_valid_before_utc.timestamp())
        return begins + (_end(certificate) - begins) * 2 // 3

    def _certificate(self) -> x509.Certificate | None:
        """What is served; None if the file is not there, or damaged."""
        try:
            return read_pair(self.certificate_path, self.certificate_path)
        except Misconfigured:
            return None

    def _is_from_authority(self) -> bool:
        """Not from another one, which the owner has turned away from: its staging one, perhaps."""
        return self.certificate_path.read_bytes().startswith(self._origin)

    def _tries(self) -> _Tries:
        try:
            tries = _Tries(**json.loads(self._tries_path.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return _Tries(self._subject)
        return tries if tries.subject == self._subject else _Tries(self._subject)

    def _keep(self, tries: _Tries) -> None:
        writing.replace(self._tries_path, json.dumps(asdict(tries)).encode())

    def _self_signed(self) -> bytes:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = serialization.Encoding.PEM
        certificate = build_certificate(key, self._names, [], self._now()).public_bytes(pem)
        plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return plain + certificate

    def _now(self) -> int:
        return int(self._clock())


def _names_of(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return sorted(extension.value.get_values_for_type(x509.DNSName))


def _is_self_signed(certificate: x509.Certificate) -> bool:
    return certificate.issuer == certificate.subject


def _end(certificate: x509.Certificate) -> int:
    return int(certificate.not_valid_after_utc.timestamp())


def _day(moment: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(moment))
