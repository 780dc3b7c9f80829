"""An HTTP service that knows people, as the third-party server of alauda/registry-auth does.

It gets a POST with Basic credentials and no body. 200 with a list of rules, `{"target", "useRegexp", "actions"}` each,
says that they are right; 401 or 403 that they are not. Everything else says nothing.
"""

import base64
import json
import logging
import socket
import ssl
import threading
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit, urlunsplit

from regadmin import go_patterns, patterns
from regadmin.decisions import RESOURCE_TYPES
from regadmin.entities import Rule
from regadmin.errors import Malformed, Misconfigured, SourceUnavailable
from regadmin.identity.source import TIMEOUT, Person, Source, unavailable
from regadmin.messages import Message
from regadmin.scopes import ACTIONS

MOST_BYTES, MOST_RULES = 1 << 20, 1000
_REFUSED = (401, 403)

log = logging.getLogger(__name__)


class HttpService(Source):
    """`authorities` is the path of the certificates to check its own with. Raises Misconfigured."""

    name = Message("Identity service")

    def __init__(self, url: str, authorities: str, user_agent: str, timeout: float = TIMEOUT):
        self.place = url
        self._url = urlsplit(url)
        self._context = _context(authorities) if self._url.scheme == "https" else None
        # A connection that was kept may be closed just when credentials are sent on it.
        self._headers = {"User-Agent": user_agent, "Accept": "application/json", "Connection": "close"}
        self._timeout = timeout

    def authenticate(self, login: str, password: str) -> Person | None:
        credentials = base64.b64encode(f"{login}:{password}".encode()).decode()
        status, body = self._post({"Authorization": f"Basic {credentials}"})
        if status in _REFUSED:
            return None
        if status != 200:
            raise _unexpected(status)
        return Person(rules=_rules(body))

    def check(self) -> None:
        status, _ = self._post({})
        if status == 200:
            raise unavailable("it lets in whoever sends no credentials: does it check them at all?")
        if status not in _REFUSED and status != 400:
            raise _unexpected(status)

    def _post(self, headers: dict[str, str]) -> tuple[int, bytes]:
        """Status and body. No redirection is followed: whoever stands there would get the credentials."""
        deadline = time.monotonic() + self._timeout
        connection = self._connection()
        # The timeout of a socket is for each piece, and there may be many, sent slowly.
        watch = threading.Timer(self._timeout, _break_off, [connection])
        watch.start()
        try:
            connection.request("POST", self._path(), b"", self._headers | headers)
            answer = connection.getresponse()
            body = answer.read(MOST_BYTES + 1)
        except (OSError, HTTPException, ValueError) as error:
            raise _plainly(error, time.monotonic() >= deadline) from None
        finally:
            watch.cancel()
            connection.close()
        if time.monotonic() >= deadline:
            raise _too_slow()
        if len(body) > MOST_BYTES:
            raise unavailable("it answered with more than %(most)s bytes", most=MOST_BYTES)
        return answer.status, body

    def _connection(self) -> HTTPConnection:
        host, port = self._url.hostname, self._url.port
        if self._context:
            return HTTPSConnection(host, port, timeout=self._timeout, context=self._context)
        return HTTPConnection(host, port, timeout=self._timeout)

    def _path(self) -> str:
        return urlunsplit(("", "", self._url.path or "/", self._url.query, ""))


def _context(authorities: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authorities)
    except OSError as error:
        raise Misconfigured(f"certificates {authorities} cannot be read: {error.strerror or error}") from None


def _break_off(connection: HTTPConnection) -> None:
    with suppress(OSError, AttributeError):
        # That of the bare socket: the other one takes away the TLS that a thread is just reading from.
        socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)


def _plainly(error: Exception, is_late: bool) -> SourceUnavailable:
    if is_late or isinstance(error, TimeoutError):
        return _too_slow()
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    shown = "".join(letter if letter.isprintable() else "?" for letter in reason[:200])
    if isinstance(error, ssl.SSLError):
        return unavailable("its certificate or its TLS is not accepted: %(reason)s", reason=shown)
    return unavailable("it cannot be asked: %(reason)s", reason=shown)


def _rules(body: bytes) -> tuple[Rule, ...]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise unavailable("it answered with what is no JSON") from None
    # What Go makes of an empty list.
    found = [] if found is None else found
    if not isinstance(found, list) or len(found) > MOST_RULES:
        raise unavailable("it answered with something else than a list of up to %(most)s rules", most=MOST_RULES)
    return tuple(rule for each in found for rule in _rules_of(each))


def _rules_of(given: object) -> list[Rule]:
    """One for each action. Those that have no equal here allow nothing."""
    if not isinstance(given, dict):
        raise _no_rule()
    kind, target = given.get("type") or "repository", given.get("target")
    is_regex, actions = given.get("useRegexp") or False, given.get("actions") or []
    is_right = isinstance(kind, str) and isinstance(target, str) and isinstance(is_regex, bool)
    if not is_right or not isinstance(actions, list) or not all(isinstance(action, str) for action in actions):
        raise _no_rule()
    name = _resource_name(target, is_regex)
    if not name or kind not in RESOURCE_TYPES:
        return []
    known = [action for action in ACTIONS if action in actions]
    return [Rule(0, "", kind, name, action, user_id=0) for action in known]


def _resource_name(target: str, is_regex: bool) -> str:
    """'' for what is refused here, too: a rule only allows, so whoever goes without it has less."""
    try:
        if is_regex:
            return go_patterns.from_regex(target)
        if not patterns.is_exact(target):
            raise Malformed("is no name that a repository can have, and useRegexp is not set")
        patterns.check(target)
        return target
    except Malformed as error:
        log.warning("a rule of the identity service is left out: %r %s", target[:80], error.message)
        return ""


def _unexpected(status: int) -> SourceUnavailable:
    return unavailable("it answered with status %(status)s", status=status)


def _too_slow() -> SourceUnavailable:
    return unavailable("it did not answer in time")


def _no_rule() -> SourceUnavailable:
    return unavailable("it answered with a list of something else than rules")
