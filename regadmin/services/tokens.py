"""Bearer tokens for the registry (distribution, docs/spec/auth/token.md and jwt.md)."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

from regadmin import scopes
from regadmin.decisions import grant
from regadmin.entities import User
from regadmin.errors import Malformed
from regadmin.memory import Memory
from regadmin.scopes import Scope
from regadmin.services.uses import Uses
from regadmin.store import Store

OWN_SUBJECT = "regadmin:index"
"""The subject of our own requests to the registry. The colon keeps it apart from every login."""

_LEEWAY = 10
"""Seconds by which a token is valid before now, for a registry whose clock is behind."""

LEAST_TTL = 60
"""Seconds that clients take a token for good, whatever is said (distribution, docs/spec/auth/token.md)."""

RECENT_TOKENS = 5000
"""So many are kept to be answered again, about 1.5 kB each."""


class Signer(Protocol):
    def sign(self, claims: dict) -> str: ...


class Extent(StrEnum):
    """How much of what was asked for a token grants. Who asks for nothing, as `docker login` does, gets it in full."""

    FULL = "full"
    PART = "part"
    NOTHING = "nothing"


class Token(NamedTuple):
    text: str
    expires_at: int
    issued_at: str
    """RFC 3339, UTC."""
    extent: Extent = Extent.FULL


class Tokens:
    def __init__(self, store: Store, signer: Signer, issuer: str, service: str, ttl: int):
        self._store = store
        self._signer = signer
        self._issuer = issuer
        self._service = service
        self._ttl = ttl
        self._signed: Memory[Token] = Memory(RECENT_TOKENS, store.now)
        self.uses = Uses(store)

    def revision(self) -> int:
        """To be read before the user is: see `issue`."""
        return self._store.revision()

    def is_over(self, user: User | None) -> bool:
        """Whether the time of the access token that he came with is over."""
        return bool(user and user.access_token and user.access_token.is_over(self._store.now()))

    def issue(
        self, user: User | None, wanted: Sequence[Scope], service: str = "", revision: int = 0, address: str = ""
    ) -> Token:
        """A token for what is both asked for and allowed; None is an anonymous client, `address` where he came from.

        With a `revision`, a token that was signed a moment ago may be given again. It must have been read
        before `user` was, so that no change in between is lost.

        Raises Malformed if the token is asked for another service than ours.
        """
        if service and service != self._service:
            raise Malformed(f"this server signs for the service {self._service!r}, not for {service[:80]!r}")
        is_external = user is not None and user.is_external
        if user and not is_external:
            self.uses.note_user(user)
        if user and user.access_token:
            self.uses.note_token(user.access_token, address)
        # What another source says of somebody may change without a new revision, and he has no id.
        if not revision or is_external:
            return self._granted(user, wanted)
        access_token = user.access_token if user else None
        key = (revision, user.id if user else None, access_token.id if access_token else None, *wanted)
        recent = min(self._ttl // 4, self._ttl - LEAST_TTL)
        return self._signed.get(key) or self._keep(key, self._granted(user, wanted), recent)

    def _granted(self, user: User | None, wanted: Sequence[Scope]) -> Token:
        rules = self._store.rules.list_for(user) if wanted else []
        granted = [grant(user, scope, rules) for scope in wanted]
        until = user.access_token.expires_at if user and user.access_token else None
        token = self._sign(user.login if user else "", [scope for scope in granted if scope.actions], until)
        return token._replace(extent=_extent(wanted, granted))

    def _keep(self, key: tuple, token: Token, seconds: int) -> Token:
        self._signed.put(key, token, seconds)
        return token

    def seconds_left(self, token: Token) -> int:
        return token.expires_at - self._store.now()

    def own_authorization(self, wanted: tuple[str, ...]) -> str:
        """The Authorization header of our own requests."""
        token = self._signed.get(wanted)
        if not token:
            token = self._keep(wanted, self._sign(OWN_SUBJECT, scopes.parse_all(wanted)), self._ttl * 3 // 4)
        return f"Bearer {token.text}"

    def _sign(self, subject: str, granted: Sequence[Scope], until: int | None = None) -> Token:
        """No token outlives `until`."""
        now = self._store.now()
        expires_at = now + self._ttl if until is None else min(now + self._ttl, until)
        claims = {
            "iss": self._issuer,
            "sub": subject,
            "aud": self._service,
            "exp": expires_at,
            "nbf": now - _LEEWAY,
            "iat": now,
            "jti": secrets.token_urlsafe(16),
            "access": [scope.claim() for scope in granted],
        }
        issued_at = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Token(self._signer.sign(claims), expires_at, issued_at)


def _extent(wanted: Sequence[Scope], granted: Sequence[Scope]) -> Extent:
    if all(set(asked.actions) <= set(given.actions) for asked, given in zip(wanted, granted, strict=True)):
        return Extent.FULL
    return Extent.PART if any(given.actions for given in granted) else Extent.NOTHING
