"""Bearer tokens for the registry (distribution, docs/spec/auth/token.md and jwt.md)."""

import logging
import secrets
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from regadmin import scopes
from regadmin.decisions import grant
from regadmin.entities import User
from regadmin.errors import Malformed
from regadmin.scopes import Scope
from regadmin.store import Store

OWN_SUBJECT = "regadmin:index"
"""The subject of our own requests to the registry. The colon keeps it apart from every login."""

_LEEWAY = 10
"""Seconds by which a token is valid before now, for a registry whose clock is behind."""

_USE_INTERVAL = 60
"""Seconds for which a user's further tokens do not write his last use again."""

log = logging.getLogger(__name__)


class Signer(Protocol):
    def sign(self, claims: dict) -> str: ...


class Token(NamedTuple):
    text: str
    expires_in: int
    issued_at: str
    """RFC 3339, UTC."""


class Tokens:
    def __init__(self, store: Store, signer: Signer, issuer: str, service: str, ttl: int):
        self._store = store
        self._signer = signer
        self._issuer = issuer
        self._service = service
        self._ttl = ttl
        self._own: dict[tuple[str, ...], tuple[int, str]] = {}
        self._noted: dict[int, int] = {}

    def issue(self, user: User | None, wanted: Sequence[Scope], service: str = "") -> Token:
        """A token for what is both asked for and allowed; None is an anonymous client.

        Raises Malformed if the token is asked for another service than ours.
        """
        if service and service != self._service:
            raise Malformed(f"this server signs for the service {self._service!r}, not for {service[:80]!r}")
        if user:
            self._note_use(user)
        rules = self._store.rules.list_for(user) if wanted else []
        granted = [grant(user, scope, rules) for scope in wanted]
        return self._sign(user.login if user else "", [scope for scope in granted if scope.actions])

    def own_authorization(self, wanted: tuple[str, ...]) -> str:
        """The Authorization header of our own requests, kept for three quarters of its life."""
        now = self._store.now()
        until, header = self._own.get(wanted, (0, ""))
        if not now < until <= now + self._ttl:
            header = "Bearer " + self._sign(OWN_SUBJECT, scopes.parse_all(wanted)).text
            if len(self._own) > 1000:
                self._own.clear()
            self._own[wanted] = (now + self._ttl * 3 // 4, header)
        return header

    def _note_use(self, user: User) -> None:
        now = self._store.now()
        if 0 <= now - self._noted.get(user.id, -_USE_INTERVAL) < _USE_INTERVAL:
            return
        self._noted[user.id] = now
        try:
            self._store.users.note_use(user.id)
        except sqlite3.OperationalError as error:
            # A full or busy disk must not keep anybody from the registry.
            log.warning("the last use of %s is not noted: %s", user.login, error)

    def _sign(self, subject: str, granted: Sequence[Scope]) -> Token:
        now = self._store.now()
        claims = {
            "iss": self._issuer,
            "sub": subject,
            "aud": self._service,
            "exp": now + self._ttl,
            "nbf": now - _LEEWAY,
            "iat": now,
            "jti": secrets.token_urlsafe(16),
            "access": [scope.claim() for scope in granted],
        }
        issued_at = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Token(self._signer.sign(claims), self._ttl, issued_at)
