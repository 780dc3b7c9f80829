"""The token realm: `docker login`, push and pull begin here (distribution, docs/spec/auth/token.md, oauth.md).

A build farm asks for the same tokens over and over. So a GET that was answered well a moment ago is answered
before the application looks at it, as long as nothing has changed that the answer depends on.
"""

import hashlib
import secrets
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from bottle import request

from regadmin.entities import User
from regadmin.errors import Malformed, Unauthenticated
from regadmin.lanes import KNOWN
from regadmin.memory import Memory
from regadmin.scopes import Scope, parse_all
from regadmin.services.tokens import Token, Tokens
from regadmin.web import inputs
from regadmin.web.answers import JSON_HEADERS, SECURE_HEADERS, as_error, json_text, registry_failed
from regadmin.web.guards import Guards, address, refuse_default_password
from regadmin.web.routes import Access, Route

PATHS = ("/api/v1/registry/auth", "/api/v1/auth", "/auth/token")
"""The first is the documented one; the documents also show the second, and `autoredirect` uses the third."""

KNOWN_SECONDS, KNOWN_QUESTIONS = 300, 10_000


class Question(NamedTuple):
    """Who asks, and what for. None is an anonymous client."""

    user: User | None
    scopes: tuple[Scope, ...]
    service: str


class Known(NamedTuple):
    """A question that was answered at that revision of the store."""

    question: Question
    revision: int


class Realm:
    def __init__(self, guards: Guards, tokens: Tokens):
        self._guards = guards
        self._tokens = tokens
        self._key = secrets.token_bytes(32)
        self._known: Memory[Question] = Memory(KNOWN_QUESTIONS, time.monotonic)

    def routes(self) -> list[Route]:
        return [Route(method, path, self.answer, Access.PUBLIC) for path in PATHS for method in ("GET", "POST")]

    def answer(self) -> str:
        try:
            return json_text(self._answer())
        except Exception as exception:
            return registry_failed(as_error(exception))

    def revision(self) -> int:
        """Moves with everything that an answer depends on."""
        return self._tokens.revision()

    def recall(self, query: str, authorization: str, revision: int) -> Known | None:
        """The question of a GET, if it was answered well a moment ago, and at this revision.

        What is answered by it holds for a request that had arrived before the revision was read.
        """
        question = self._known.get((revision, self._digest(query, authorization)))
        return Known(question, revision) if question and not self._tokens.is_over(question.user) else None

    def answer_again(self, known: Known, environ: dict, start_response: Callable) -> Iterable[bytes]:
        """The answer to a known question, by WSGI."""
        if known.question.user:
            environ["regadmin.login"] = known.question.user.login
        token = self._tokens.issue(*known.question, known.revision, environ.get("REMOTE_ADDR", ""))
        body = self._body(token, environ).encode()
        start_response("200 OK", [*SECURE_HEADERS, *JSON_HEADERS, ("Content-Length", str(len(body)))])
        return [body]

    def _answer(self) -> str:
        revision = self._tokens.revision()
        question = self._question()
        token = self._tokens.issue(*question, revision, address())
        is_external = question.user is not None and question.user.is_external
        if request.method == "GET" and not is_external:
            self._known.put((revision, self._digest(*_asked(request.environ))), question, KNOWN_SECONDS)
        return self._body(token, request.environ)

    def _body(self, token: Token, environ: dict) -> str:
        environ["regadmin.extent"] = token.extent
        # By hand, because this is the hot path; nothing in it needs to be escaped.
        return (
            f'{{"token": "{token.text}", "access_token": "{token.text}", '
            f'"expires_in": {self._tokens.seconds_left(token)}, "issued_at": "{token.issued_at}"}}'
        )

    def _digest(self, query: str, authorization: str) -> bytes:
        """Stands for the whole question. Keyed, because there is a password in it."""
        return hashlib.blake2b(f"{authorization}\0{query}".encode("latin-1"), key=self._key, digest_size=32).digest()

    def _question(self) -> Question:
        asked, posted = inputs.query(), inputs.form() if request.method == "POST" else {}
        scopes = parse_all(asked.get("scope", []) + posted.get("scope", []))
        user = self._user(_credentials(posted), _first(posted | asked, "account"))
        return Question(user, tuple(scopes), _first(posted | asked, "service"))

    def _user(self, credentials: tuple[str, str] | None, account: str) -> User | None:
        """Who asks; None without credentials. Credentials that are wrong never make an anonymous client."""
        if credentials is None:
            if account:
                raise Unauthenticated("an account is named, but no credentials were sent")
            return None
        if account and account != credentials[0]:
            raise Malformed("account differs from the login")
        user = self._guards.authenticate(*credentials, takes_tokens=True)
        refuse_default_password(user)
        return user


class RecentAnswers:
    """WSGI middleware: asks the realm first whether it knows the answer. All else goes on to the application.

    The event loop has asked already; by now another thread may have given the answer to the same question.
    """

    def __init__(self, app: Callable, realm: Realm):
        self._app = app
        self._realm = realm

    def __call__(self, environ: dict, start_response: Callable) -> Iterable[bytes]:
        known = environ.get(KNOWN)
        if not known and environ["REQUEST_METHOD"] == "GET" and environ["PATH_INFO"] in PATHS:
            known = self._realm.recall(*_asked(environ), self._realm.revision())
        if known:
            return self._realm.answer_again(known, environ, start_response)
        return self._app(environ, start_response)


def _asked(environ: dict) -> tuple[str, str]:
    return environ.get("QUERY_STRING", ""), environ.get("HTTP_AUTHORIZATION", "")


def _credentials(posted: dict[str, list[str]]) -> tuple[str, str] | None:
    """From the Authorization header, or from the form: never from the address, which lands in logs."""
    header = request.environ.get("HTTP_AUTHORIZATION")
    if header:
        return inputs.basic_credentials(header)
    grant_type = _first(posted, "grant_type")
    if grant_type == "refresh_token":
        raise Unauthenticated("no refresh tokens are issued here; send login and password")
    if grant_type not in ("", "password"):
        raise Malformed("grant_type must be password")
    if not grant_type and "username" not in posted:
        return None
    return _first(posted, "username"), _first(posted, "password")


def _first(fields: dict[str, list[str]], name: str) -> str:
    return fields.get(name, [""])[0]
