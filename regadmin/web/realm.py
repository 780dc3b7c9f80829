"""The token realm: `docker login`, push and pull begin here (distribution, docs/spec/auth/token.md, oauth.md)."""

from bottle import request

from regadmin.entities import User
from regadmin.errors import Malformed, Unauthenticated
from regadmin.scopes import parse_all
from regadmin.services.tokens import Tokens
from regadmin.web import inputs
from regadmin.web.answers import as_error, json_answer, registry_failed
from regadmin.web.guards import Guards, refuse_default_password
from regadmin.web.routes import Access, Route

PATHS = ("/api/v1/registry/auth", "/api/v1/auth", "/auth/token")
"""The first is the documented one; the documents also show the second, and `autoredirect` uses the third."""


class Realm:
    def __init__(self, guards: Guards, tokens: Tokens):
        self._guards = guards
        self._tokens = tokens

    def routes(self) -> list[Route]:
        return [Route(method, path, self.answer, Access.PUBLIC) for path in PATHS for method in ("GET", "POST")]

    def answer(self) -> str:
        try:
            return self._answer()
        except Exception as exception:
            return registry_failed(as_error(exception))

    def _answer(self) -> str:
        asked, posted = inputs.query(), inputs.form() if request.method == "POST" else {}
        scopes = parse_all(asked.get("scope", []) + posted.get("scope", []))
        user = self._user(_credentials(posted), _first(posted | asked, "account"))
        token = self._tokens.issue(user, scopes, _first(posted | asked, "service"))
        return json_answer(
            {
                "token": token.text,
                "access_token": token.text,
                "expires_in": token.expires_in,
                "issued_at": token.issued_at,
            }
        )

    def _user(self, credentials: tuple[str, str] | None, account: str) -> User | None:
        """Who asks; None without credentials. Credentials that are wrong never make an anonymous client."""
        if credentials is None:
            if account:
                raise Unauthenticated("an account is named, but no credentials were sent")
            return None
        if account and account != credentials[0]:
            raise Malformed("account differs from the login")
        user = self._guards.authenticate(*credentials)
        refuse_default_password(user)
        return user


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
