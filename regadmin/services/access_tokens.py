"""Access tokens: what a person or a robot uses in place of a password, at the registry and to read the REST API.

The secret is random, so its plain digest is enough to keep, and is looked up at once. What a token allows is what its
owner may do at that moment, narrowed by the token's scope.
"""

import hashlib
import re
import secrets
import string
from dataclasses import replace
from datetime import UTC, datetime

from regadmin import patterns
from regadmin.decisions import INCLUDES
from regadmin.entities import AccessToken, Actor, Reach, User
from regadmin.errors import Conflict, Invalid, Malformed, NotFound, Unauthenticated
from regadmin.messages import Message
from regadmin.services.uses import Uses
from regadmin.store import Store
from regadmin.store.access_tokens import ListedToken

PREFIX = "rap_"
"""Tells people and scanners of leaked secrets what they have found."""

MOST_TOKENS, MOST_REACHES, MAX_NAME = 100, 50, 64
LATEST = 253_402_300_799
"""The end of the year 9999."""

_LETTERS = string.ascii_letters + string.digits
_RANDOM_LETTERS = 32
"""190 bits."""

_SECRET = re.compile(rf"{PREFIX}[A-Za-z0-9]{{{_RANDOM_LETTERS}}}")


def is_secret(text: str) -> bool:
    """Whether the text has the form of an access token."""
    return bool(_SECRET.fullmatch(text))


class AccessTokens:
    def __init__(self, store: Store, uses: Uses):
        self._store = store
        self._uses = uses

    def authenticate(self, login: str, secret: str, address: str) -> User | None:
        """The owner, with the token that he came with; None if the secret is no token of this login.

        Raises Unauthenticated for a token whose time is over: only its owner gets so far.
        """
        found = self._find(login, secret)
        if not found:
            return None
        user, token = found
        if token.is_over(self._store.now()):
            raise Unauthenticated(Message("the time of this access token is over; make a new one"))
        self._uses.note_token(token, address)
        return replace(user, access_token=token)

    def knows(self, login: str, secret: str) -> bool:
        """Whether `authenticate` tells who that is, or that the token's time is over: no password need be computed."""
        return self._find(login, secret) is not None

    def days_from_now(self, days: int) -> int:
        return self._store.now() + days * 86_400

    def list_of(self, user: User) -> list[ListedToken]:
        """The newest first."""
        return self._store.access_tokens.list_of(user.id)

    def find_of(self, user: User, token_id: int) -> AccessToken:
        """Raises NotFound, also for a token of somebody else."""
        token = self._store.access_tokens.find(token_id)
        if not token or token.user_id != user.id:
            raise NotFound(Message("there is no access token %(token)s", token=token_id))
        return token

    def create(
        self, owner: User, by: Actor, name: str, scope: tuple[Reach, ...], expires_at: int | None
    ) -> tuple[AccessToken, str]:
        """The token and its secret, which cannot be had again. An empty scope is all that the owner may do.

        Raises Invalid and Conflict.
        """
        self._check(name, scope, expires_at)
        secret = PREFIX + "".join(secrets.choice(_LETTERS) for _ in range(_RANDOM_LETTERS))
        with self._store.transaction():
            if self._store.access_tokens.count_of(owner.id) >= MOST_TOKENS:
                raise Conflict(Message("there are %(most)s access tokens already; revoke some first", most=MOST_TOKENS))
            wanted = AccessToken(0, owner.id, name, scope, expires_at=expires_at)
            token = self._store.access_tokens.create(wanted, _digest(secret))
            self._store.activity.add("access token created", by.login, owner.login, by.address, _row(token))
        return token, secret

    def revoke(self, owner: User, token_id: int, by: Actor) -> AccessToken:
        """It ends at once. Raises NotFound."""
        with self._store.transaction():
            token = self.find_of(owner, token_id)
            self._store.access_tokens.delete(token_id)
            self._store.activity.add("access token revoked", by.login, owner.login, by.address, _row(token))
        return token

    def _find(self, login: str, secret: str) -> tuple[User, AccessToken] | None:
        if not is_secret(secret):
            return None
        token = self._store.access_tokens.find_digest(_digest(secret))
        user = self._store.users.find(token.user_id) if token else None
        if not user or user.is_blocked or user.login != login:
            return None
        return user, token

    def _check(self, name: str, scope: tuple[Reach, ...], expires_at: int | None) -> None:
        wrong = {}
        if not 0 < len(name) <= MAX_NAME or not name.isprintable():
            wrong["name"] = Message("must hold 1 to %(most)s characters, without control characters", most=MAX_NAME)
        if expires_at is not None and not self._store.now() < expires_at <= LATEST:
            wrong["expires_at"] = Message("must lie in the future")
        reason = _why_no_scope(scope)
        if reason:
            wrong["scope"] = reason
        if wrong:
            raise Invalid(wrong)


def _why_no_scope(scope: tuple[Reach, ...]) -> str:
    if len(scope) > MOST_REACHES:
        return Message("must hold at most %(most)s repositories", most=MOST_REACHES)
    for reach in scope:
        if reach.action not in INCLUDES:
            return Message("must be one of %(choices)s", choices=", ".join(INCLUDES))
        try:
            patterns.check(reach.resource_name)
        except Malformed as error:
            return Message("%(name)s: %(reason)s", name=reach.resource_name, reason=error.message)
    return ""


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _row(token: AccessToken) -> dict:
    """What the activity keeps."""
    end = "" if token.expires_at is None else datetime.fromtimestamp(token.expires_at, UTC).strftime("%Y-%m-%d %H:%M")
    return {
        "name": token.name,
        "scope": [f"{reach.resource_name} ({reach.action})" for reach in token.scope],
        "expires": end,
    }
