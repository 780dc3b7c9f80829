"""One request to the registry: its connection, its bounds, and each way to fail told in the error tree."""

import queue
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.cookiejar import DefaultCookiePolicy
from typing import NamedTuple

import requests
import urllib3

from regadmin.errors import Error, Malformed, NotFound, RegistryRefused, RegistryUnavailable
from regadmin.messages import Message
from regadmin.registry.documents import mapping, read_object, text

LIMIT = 4 << 20
"""The most bytes of a manifest, a configuration or an error that are read."""

MAX_REDIRECTS = 5

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
    """Keeps up to `max_connections` sessions; each is used by one thread at a time."""

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
        self._authorize = authorize
        self._verify = verify
        self._timeout = timeout
        self._user_agent = user_agent
        self._on_outcome = on_outcome
        # The last session given back is the next one used: the others stay unmade, or get old and close.
        self._sessions: queue.LifoQueue[requests.Session | None] = queue.LifoQueue()
        for _ in range(max_connections):
            self._sessions.put(None)

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
        idle = []
        with suppress(queue.Empty):
            while True:
                idle.append(self._sessions.get_nowait())
        for session in idle:
            if session:
                session.close()
            self._sessions.put(None)

    def _exchange(self, method, path, headers, data, limit, follow) -> Answer:
        with self._session() as session:
            try:
                with session.request(
                    method,
                    self.base_url + path,
                    headers=headers,
                    data=data,
                    timeout=self._timeout,
                    allow_redirects=follow,
                    stream=True,
                ) as response:
                    self._on_outcome(response.status_code not in _FROM_PROXIES)
                    body = self._read(response, limit)
            except (requests.RequestException, urllib3.exceptions.HTTPError, UnicodeError) as error:
                self._on_outcome(False)
                raise self._plainly(error) from error
        return Answer(response.status_code, response.headers, body, bool(response.history))

    def _read(self, response: requests.Response, limit: int) -> bytes:
        body = bytearray()
        for part in response.iter_content(1 << 16):
            body += part
            if len(body) > limit:
                raise self.unavailable(
                    "the registry at %(registry)s answered with more than %(most)s bytes", most=limit
                )
        return bytes(body)

    @contextmanager
    def _session(self) -> Iterator[requests.Session]:
        try:
            session = self._sessions.get(timeout=sum(self._timeout))
        except queue.Empty:
            raise self.unavailable(
                "the registry at %(registry)s is busy: all our connections to it are in use"
            ) from None
        try:
            session = session or self._new_session()
            yield session
        finally:
            self._sessions.put(session)

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        # Neither the proxies nor the netrc file of whoever starts the server: they would get our credentials.
        session.trust_env = False
        session.verify = self._verify
        session.max_redirects = MAX_REDIRECTS
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # Not compressed, so that the bound on the body is one on what is sent too.
        session.headers = {"User-Agent": self._user_agent, "Accept-Encoding": "identity"}
        adapter = requests.adapters.HTTPAdapter(pool_connections=2, pool_maxsize=1)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        return session

    def _plainly(self, error: Exception) -> RegistryUnavailable:
        connect, read = self._timeout
        reason = _reason(error)
        if isinstance(error, requests.exceptions.SSLError):
            return self.unavailable(
                "the registry at %(registry)s has a certificate or a TLS that is not accepted: %(reason)s",
                reason=reason,
            )
        if isinstance(error, requests.ConnectTimeout):
            return self.unavailable(
                "the registry at %(registry)s did not take a connection within %(limit)s seconds", limit=f"{connect:g}"
            )
        if isinstance(error, requests.Timeout) or "timed out" in str(error):
            return self.unavailable(
                "the registry at %(registry)s did not answer within %(limit)s seconds", limit=f"{read:g}"
            )
        if isinstance(error, requests.TooManyRedirects):
            return self.unavailable("the registry at %(registry)s redirects in circles")
        if isinstance(error.args[0] if error.args else None, urllib3.exceptions.ProtocolError):
            return self.unavailable("the registry at %(registry)s broke off: %(reason)s", reason=reason)
        if isinstance(error, requests.ConnectionError):
            return self.unavailable("the registry at %(registry)s cannot be reached: %(reason)s", reason=reason)
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
