"""Forward authentication: a proxy asks here before it passes a request on to the registry.

The answer to a good request carries the token that the proxy sends on with it, so that clients need nothing but Basic
credentials. docs/decisions/0014 says why anybody may ask.
"""

import hmac
import secrets
import time

from bottle import request, response

from regadmin.entities import User
from regadmin.errors import Error, Forbidden, Malformed, Unauthenticated
from regadmin.memory import Memory
from regadmin.registry.routes import needed
from regadmin.scopes import Scope
from regadmin.services.tokens import Extent, Tokens
from regadmin.web.answers import as_error, json_answer, registry_failed
from regadmin.web.guards import Guards, address, refuse_default_password
from regadmin.web.inputs import basic_credentials
from regadmin.web.routes import Access, Route

PATH = "/api/v1/forward"

REFUSAL_HEADER = "X-Registry-Error"
"""The body of a refusal once more: nginx hands headers on, but no body."""

_KNOWN_SECONDS, _KNOWN_CALLERS = 300, 10_000

# As nginx is told to name them in contrib/nginx, and as Traefik and Caddy do by themselves.
_ORIGINALS = (("X_ORIGINAL_METHOD", "X_ORIGINAL_URI"), ("X_FORWARDED_METHOD", "X_FORWARDED_URI"))


class Forward:
    def __init__(self, guards: Guards, tokens: Tokens):
        self._guards = guards
        self._tokens = tokens
        self._key = secrets.token_bytes(32)
        self._known: Memory[User] = Memory(_KNOWN_CALLERS, time.monotonic)

    def routes(self) -> list[Route]:
        return [Route("GET", PATH, self.answer, Access.PUBLIC)]

    def answer(self) -> str:
        try:
            response.set_header("Authorization", f"Bearer {self._token()}")
            return json_answer({})
        except Exception as exception:
            refusal = registry_failed(as_error(exception))
            response.set_header(REFUSAL_HEADER, refusal)
            return refusal

    def _token(self) -> str:
        revision = self._tokens.revision()
        user = self._caller(revision)
        wanted = needed(*_original())
        token = self._tokens.issue(user, wanted, revision=revision, address=address())
        if token.extent is not Extent.FULL:
            raise _denied(user, wanted)
        if not user and not wanted:
            # Clients look here whether credentials are wanted at all: those who have some must hear of it.
            raise Unauthenticated("authentication required")
        return token.text

    def _caller(self, revision: int) -> User | None:
        """Who sent the request, None if he sent no credentials. One push asks a dozen times, so he is remembered."""
        header = request.environ.get("HTTP_AUTHORIZATION", "")
        key = revision, hmac.digest(self._key, header.encode("latin-1"), "sha256")
        user = self._known.get(key)
        if user and not self._tokens.is_over(user):
            request.environ["regadmin.login"] = user.login
            return user
        # skopeo and podman answer a challenge so if they have no credentials.
        if not header or (credentials := basic_credentials(header)) == ("", ""):
            return None
        user = self._guards.authenticate(*credentials, takes_tokens=True)
        refuse_default_password(user)
        if not user.is_external:
            self._known.put(key, user, _KNOWN_SECONDS)
        return user


def _original() -> tuple[str, str]:
    """Method and address of the request that the proxy asks about."""
    pairs = (tuple(request.environ.get(f"HTTP_{name}", "") for name in names) for names in _ORIGINALS)
    named = {pair for pair in pairs if all(pair)}
    if not named:
        raise Malformed("the proxy names no request: it must send X-Original-Method and X-Original-URI")
    if len(named) > 1:
        # A proxy sets its own pair and hands on the other one, so one of them is the client's.
        raise Forbidden("X-Original-Method and X-Original-URI name another request than X-Forwarded-Method and -Uri")
    return named.pop()


def _denied(user: User | None, wanted: list[Scope]) -> Error:
    asked = " ".join(map(str, wanted))
    if user:
        return Forbidden(f"requested access to the resource is denied: {asked}")
    return Unauthenticated(f"authentication required: {asked}")
