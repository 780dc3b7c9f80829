"""One request to the registry: its connection, its bounds, and each way to fail told in the error tree."""

from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import urllib3
from requests import certs
from urllib3.exceptions import (
    ConnectTimeoutError,
    EmptyPoolError,
    HTTPError,
    NewConnectionError,
    ProtocolError,
    SSLError,
    TimeoutError,
)

from regadmin.errors import Error, Malformed, NotFound, RegistryRefused, RegistryUnavailable
from regadmin.messages import Message
from regadmin.registry.documents import mapping, read_object, text

LIMIT = 4 << 20
"""The most bytes of a manifest, a configuration or an error that are read."""

MAX_REDIRECTS = 5

_REDIRECTIONS = (301, 302, 303, 307, 308)
_FROM_PROXIES = (502, 503, 504)
"""With these a proxy says that the registry behind it does not answer."""

DELETE_DISABLED = Message(
    "the registry does not allow to delete: set `storage: delete: enabled: true` in its configuration "
    "and restart it"
)

Authorize = Callable[[tuple[str, ...]], str | None]
"""Gives the value of the Authorization header for these scopes, or None to send none."""


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes
    was_redirected: bool = False


class Transport:
    """Keeps up to `max_connections` connections; each is used by one thread at a time.

    By urllib3 alone: `requests` around it doubles the price of a request, and a synchronisation makes thousands.
    """

    def __init__(
        self,
        base_url: str,
        authorize: Authorize,
        *,
        verify: bool | str,
        timeout: tuple[float, float],
        user_agent: str,
        max_connections: int,
        on_outcome: Callable[[bool], None],
    ):
        self.base_url = base_url.rstrip("/")
        self._prefix = urlsplit(self.base_url).path
        self._authorize = authorize
        self._connect_seconds, self._read_seconds = timeout
        self._timeout = urllib3.Timeout(connect=self._connect_seconds, read=self._read_seconds)
        # Not compressed, so that the bound on the body is one on what is sent too.
        self._headers = {"User-Agent": user_agent, "Accept-Encoding": "identity"}
        self._on_outcome = on_outcome
        self._max_connections = max_connections
        self._tls = {"cert_reqs": "CERT_NONE"}
        if verify:
            self._tls = {"cert_reqs": "CERT_REQUIRED", "ca_certs": certs.where() if verify is True else verify}
        self._connections = self._new_connections()

    def ask(
        self,
        method: str,
        path: str,
        scope: str,
        what: str,
        *,
        expected: tuple[int, ...] = (200,),
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        limit: int = LIMIT,
        follow: bool = False,
    ) -> Answer:
        """Send a request and return the answer if its status is an expected one.

        scope   what the request needs, as in `repository:team/app:pull`; '' sends no credentials
        what    names the thing that was asked for, in the sentences of errors
        limit   the most bytes of the body
        follow  whether a redirection may lead elsewhere; credentials do not go there

        Raises RegistryUnavailable, RegistryRefused, NotFound.
        """
        credentials = self._authorize((scope,)) if scope else None
        sent = {**(headers or {}), **({"Authorization": credentials} if credentials else {})}
        answer = self._exchange(method, path, sent, data, limit, follow)
        if answer.status not in expected:
            raise self._fault(answer, method, scope, what, credentials or "")
        return answer

    def unavailable(self, sentence: str, /, **values) -> RegistryUnavailable:
        """`sentence` is a constant, in which %(registry)s stands for the registry's address."""
        return RegistryUnavailable(Message(sentence, registry=self.base_url, **values))

    def close(self) -> None:
        """Close the connections that are not in use at this moment."""
        self._connections.close()
        self._connections = self._new_connections()

    def _new_connections(self) -> urllib3.HTTPConnectionPool:
        # Neither the proxies nor the netrc file of whoever starts the server: they would get our credentials.
        return urllib3.connection_from_url(
            self.base_url, maxsize=self._max_connections, block=True, **self._tls_for(self.base_url)
        )

    def _tls_for(self, url: str) -> dict[str, str]:
        return self._tls if urlsplit(url).scheme == "https" else {}

    def _exchange(self, method, path, headers, data, limit, follow) -> Answer:
        try:
            answer = self._receive(self._connections, method, self._prefix + path, headers, data, limit)
            self._on_outcome(answer.status not in _FROM_PROXIES)
            return self._follow(answer, self.base_url + path, headers, limit) if follow else answer
        except EmptyPoolError:
            raise self.unavailable(
                "the registry at %(registry)s is busy: all our connections to it are in use"
            ) from None
        except (HTTPError, OSError, UnicodeError) as error:
            self._on_outcome(False)
            raise self._plainly(error) from error

    def _receive(self, connections: urllib3.HTTPConnectionPool, method, target, headers, data, limit) -> Answer:
        response = connections.urlopen(
            method,
            target,
            body=data,
            headers={**self._headers, **headers},
            timeout=self._timeout,
            pool_timeout=self._connect_seconds + self._read_seconds,
            retries=False,
            redirect=False,
            preload_content=False,
            decode_content=False,
        )
        try:
            return Answer(response.status, response.headers, self._read(response, limit))
        except BaseException:
            # What is left of the body must not be read as the next answer.
            response.close()
            raise
        finally:
            response.release_conn()

    def _follow(self, answer: Answer, url: str, headers: Mapping[str, str], limit: int) -> Answer:
        """Where the answer leads, by connections of its own. Our credentials stay with the registry."""
        followed = 0
        while answer.status in _REDIRECTIONS and answer.headers.get("Location"):
            followed += 1
            if followed > MAX_REDIRECTS:
                raise self.unavailable("the registry at %(registry)s redirects in circles")
            url = urljoin(url, answer.headers["Location"])
            place = urlsplit(url)
            if place.scheme not in ("http", "https"):
                return answer
            if place[:2] != urlsplit(self.base_url)[:2]:
                headers = {name: value for name, value in headers.items() if name != "Authorization"}
            target = (place.path or "/") + (f"?{place.query}" if place.query else "")
            with urllib3.connection_from_url(url, maxsize=1, **self._tls_for(url)) as connections:
                answer = self._receive(connections, "GET", target, headers, None, limit)
        return answer._replace(was_redirected=bool(followed))

    def _read(self, response: urllib3.BaseHTTPResponse, limit: int) -> bytes:
        body = bytearray()
        while part := response.read(1 << 16):
            body += part
            if len(body) > limit:
                raise self.unavailable(
                    "the registry at %(registry)s answered with more than %(most)s bytes", most=limit
                )
        return bytes(body)

    def _plainly(self, error: Exception) -> RegistryUnavailable:
        reason = _reason(error)
        if isinstance(error, SSLError):
            return self.unavailable(
                "the registry at %(registry)s has a certificate or a TLS that is not accepted: %(reason)s",
                reason=reason,
            )
        if isinstance(error, NewConnectionError):
            return self.unavailable("the registry at %(registry)s cannot be reached: %(reason)s", reason=reason)
        if isinstance(error, ConnectTimeoutError):
            return self.unavailable(
                "the registry at %(registry)s did not take a connection within %(limit)s seconds",
                limit=f"{self._connect_seconds:g}",
            )
        if isinstance(error, TimeoutError) or "timed out" in str(error):
            return self.unavailable(
                "the registry at %(registry)s did not answer within %(limit)s seconds", limit=f"{self._read_seconds:g}"
            )
        if isinstance(error, (ProtocolError, OSError)):
            return self.unavailable("the registry at %(registry)s broke off: %(reason)s", reason=reason)
        if isinstance(error, ValueError):
            return self.unavailable("the registry at %(registry)s cannot be asked: %(reason)s", reason=reason)
        return self.unavailable(
            "the registry at %(registry)s answered with what cannot be read: %(reason)s", reason=reason
        )

    def _fault(self, answer: Answer, method: str, scope: str, what: str, credentials: str) -> Error:
        status = answer.status
        code, complaint = _complaint(answer.body)
        said = f" ({': '.join(filter(None, (code, complaint)))})" if code or complaint else ""
        if status >= 500 or status == 429:
            return self.unavailable(
                "the registry at %(registry)s answered %(status)s when asked for %(what)s%(said)s",
                status=status,
                what=what,
                said=said,
            )
        if status < 400 or answer.was_redirected:
            place = _printable(answer.headers.get("Location", ""))
            return self.unavailable(
                "the registry at %(registry)s answered %(status)s, which was not expected%(place)s",
                status=status,
                place=place and f": {place}",
            )
        if status == 404:
            return self._not_found(what, code)
        if status in (401, 403):
            return RegistryRefused(_refusal(scope, credentials, said), status, code)
        if status == 405 and method == "DELETE":
            return RegistryRefused(DELETE_DISABLED, status, code)
        return RegistryRefused(
            Message(
                "the registry refused %(what)s with status %(status)s%(said)s", what=what, status=status, said=said
            ),
            status,
            code,
        )

    def _not_found(self, what: str, code: str) -> Error:
        # A web server or proxy that says 404 knows nothing of the registry: nothing is gone because of it.
        if not code:
            return self.unavailable(
                "the registry at %(registry)s answered 404 for %(what)s, but not as a registry does: "
                "is this its address?",
                what=what,
            )
        return NotFound(Message("the registry does not have %(what)s", what=what))


def _refusal(scope: str, credentials: str, said: str) -> Message:
    wanted = scope or "/v2/"
    if credentials.startswith("Basic "):
        return Message(
            "the registry refused us %(wanted)s: compare the login and the password with its htpasswd file%(said)s",
            wanted=wanted,
            said=said,
        )
    return Message(
        "the registry refused us %(wanted)s: compare realm, service and issuer with `auth: token` of its "
        "configuration, and the certificate with its rootcertbundle, which it reads when it starts%(said)s",
        wanted=wanted,
        said=said,
    )


def _complaint(body: bytes) -> tuple[str, str]:
    """Code and message of the first error in the registry's error body, or two times ''."""
    try:
        errors = read_object(body, "the error").get("errors")
    except Malformed:
        return "", ""
    first = mapping(errors[0]) if isinstance(errors, list) and errors else {}
    return _printable(text(first.get("code"))), _printable(text(first.get("message")))


def _printable(words: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in words[:200])


def _reason(error: BaseException) -> str:
    """The system's own words for the innermost cause, such as `Connection refused`."""
    chain = [error]
    while chain[-1].__context__ is not None and len(chain) < 20:
        chain.append(chain[-1].__context__)
    for cause in reversed(chain):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return _printable(str(chain[-1])) or type(error).__name__
