"""Getting a certificate from an ACME authority such as Let's Encrypt (RFC 8555), by the challenge http-01."""

import json
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import josepy
import requests
from acme import challenges, client, crypto_util, messages
from acme import errors as acme_errors
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from regadmin.certificates.writing import replace
from regadmin.errors import Error

NONCE_TRIES = 5
"""The library tries twice each time; an authority may refuse a good nonce (RFC 8555, section 6.5)."""

ORDER_SECONDS = 90
"""From the answered challenges to the certificate."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,200}")
"""RFC 8555, section 8.3."""

_REQUEST_SECONDS = 30
_LONGEST_SENTENCE = 500


class OrderFailed(Error):
    """There is no certificate. `retry_after` is the time that the authority wants us to wait, in seconds, or 0."""

    def __init__(self, message: str, retry_after: int = 0):
        super().__init__(message)
        self.retry_after = retry_after


class Authority:
    """An ACME authority and our account there, whose key and address are kept in `account_path`."""

    def __init__(self, directory_url: str, account_path: Path, email: str, user_agent: str):
        self.directory_url = directory_url
        self._account_path = account_path
        self._email = email
        self._user_agent = user_agent
        self._answers = account_path.with_name("challenges")

    def answer(self, token: str) -> str | None:
        """What the authority is to find under this token while it checks that a name is ours, in any process."""
        if not _TOKEN.fullmatch(token):
            return None
        try:
            return (self._answers / token).read_text("ascii")
        except OSError:
            return None

    def issue(self, names: Sequence[str]) -> bytes:
        """A new private key, its certificate for these names and the chain, in PEM. Raises OrderFailed, OSError."""
        network = _Network(self._key(), self._user_agent)
        with closing(network.session), _told(network):
            try:
                return self._order(self._client(network), names)
            except messages.Error as error:
                if error.code != "accountDoesNotExist":
                    raise
            self._keep_account(uri="")
            return self._order(self._client(network), names)

    def _client(self, network: "_Network") -> client.ClientV2:
        network.account = None
        directory = messages.Directory.from_json(network.get(self.directory_url).json())
        found = client.ClientV2(directory, network)
        account = self._account()
        uri = account["uri"] if account["directory"] == self.directory_url else ""
        if not uri:
            uri = self._register(found)
            self._keep_account(uri)
        network.account = messages.RegistrationResource(body=messages.Registration(), uri=uri)
        return found

    def _register(self, found: client.ClientV2) -> str:
        wanted = messages.NewRegistration.from_data(email=self._email or None, terms_of_service_agreed=True)
        try:
            return found.new_account(wanted).uri
        except acme_errors.ConflictError as known:
            return known.location

    def _order(self, found: client.ClientV2, names: Sequence[str]) -> bytes:
        key = _pem(ec.generate_private_key(ec.SECP256R1()))
        order = found.new_order(crypto_util.make_csr(key, list(names)))
        try:
            for authorization in order.authorizations:
                if authorization.body.status != messages.STATUS_VALID:
                    self._answer_challenge(found, authorization)
            order = found.poll_and_finalize(order, datetime.now() + timedelta(seconds=ORDER_SECONDS))
        finally:
            shutil.rmtree(self._answers, ignore_errors=True)
        return key + order.fullchain_pem.encode()

    def _answer_challenge(self, found: client.ClientV2, authorization: messages.AuthorizationResource) -> None:
        for challenge in authorization.body.challenges:
            if isinstance(challenge.chall, challenges.HTTP01):
                response, answer = challenge.response_and_validation(found.net.key)
                self._answers.mkdir(mode=0o700, exist_ok=True)
                (self._answers / challenge.chall.encode("token")).write_text(answer, "ascii")
                found.answer_challenge(challenge, response)
                return
        raise OrderFailed(f"{authorization.body.identifier.value}: the authority does not offer the challenge http-01")

    def _key(self) -> josepy.JWK:
        if not self._account_path.exists():
            # On the disk before the authority learns of it: an account without its key is lost.
            key = josepy.JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
            self._write({"directory": self.directory_url, "uri": "", "key": key.to_json()})
        return self._account()["key"]

    def _account(self) -> dict:
        try:
            account = json.loads(self._account_path.read_bytes())
            return account | {"key": josepy.JWK.from_json(account["key"])}
        except (ValueError, KeyError, TypeError, josepy.Error):
            raise OrderFailed(f"{self._account_path} is damaged: put back a copy, or remove it to have a new account")

    def _keep_account(self, uri: str) -> None:
        self._write({"directory": self.directory_url, "uri": uri, "key": self._account()["key"].to_json()})

    def _write(self, account: dict) -> None:
        replace(self._account_path, json.dumps(account).encode())


class _Network(client.ClientNetwork):
    """Tries again when a nonce is refused, and remembers how long an authority in trouble wants us to wait."""

    def __init__(self, key: josepy.JWK, user_agent: str):
        super().__init__(key, alg=josepy.ES256, user_agent=user_agent, timeout=_REQUEST_SECONDS)
        self.retry_after = 0
        self.session.hooks["response"].append(self._note_retry_after)

    def post(self, *args, **options):
        for _ in range(NONCE_TRIES - 1):
            try:
                return super().post(*args, **options)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        return super().post(*args, **options)

    def _note_retry_after(self, response: requests.Response, *_, **__) -> None:
        if response.status_code in (429, 503):
            self.retry_after = _seconds(response.headers.get("Retry-After", ""))


@contextmanager
def _told(network: _Network) -> Iterator[None]:
    """Whatever goes wrong at the authority, in a sentence."""
    # Of these the library raises the ones of Python when an answer has another shape than it should.
    faults = acme_errors.Error, requests.RequestException, josepy.Error
    try:
        yield
    except (*faults, ValueError, LookupError, TypeError, AttributeError) as error:
        sentence = " ".join(re.sub(r"[^\x20-\x7e]", " ", _sentence(error)).split())
        raise OrderFailed(sentence[:_LONGEST_SENTENCE], network.retry_after)


def _sentence(error: Exception) -> str:
    match error:
        case acme_errors.ValidationError():
            return "; ".join(_refusals(error))
        case acme_errors.IssuanceError():
            return f"the authority does not issue it: {error.error.detail}"
        case messages.Error():
            return f"the authority refuses: {error.detail or error.description or error.typ}"
        case acme_errors.TimeoutError():
            return f"the authority did not finish within {ORDER_SECONDS} seconds"
        case requests.RequestException():
            return f"the authority cannot be reached: {_reason(error)}"
        case acme_errors.ClientError() if error.args and isinstance(error.args[0], requests.Response):
            return f"the authority answered with status {error.args[0].status_code}"
    return f"the authority answered what is not understood ({type(error).__name__}: {error})"


def _refusals(error: acme_errors.ValidationError) -> Iterator[str]:
    for authorization in error.failed_authzrs:
        for challenge in authorization.body.challenges:
            if challenge.error:
                yield f"{authorization.body.identifier.value}: {challenge.error.detail}"


def _reason(error: BaseException) -> str:
    """The system's own words for the innermost cause, such as `Connection refused`."""
    causes = [error]
    while causes[-1].__context__:
        causes.append(causes[-1].__context__)
    said = [cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror]
    return said[-1] if said else str(causes[-1])


def _seconds(retry_after: str) -> int:
    """RFC 9110, section 10.2.3: seconds or a date; 0 for neither."""
    if retry_after.isdecimal():
        return int(retry_after)
    try:
        return max(0, int(parsedate_to_datetime(retry_after).timestamp() - time.time()))
    except ValueError:
        return 0


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
