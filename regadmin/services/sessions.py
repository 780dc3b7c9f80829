"""Sessions: a signed JWT for the browser, a row in the store for the server.

The JWT lives for `jwt_ttl` seconds and is renewed while the session, which lives for `cookie_ttl`, lasts.
Without its row a JWT is worth nothing: sign-out, block and password change remove the row.
"""

import hashlib
import hmac
import logging
import secrets
import sqlite3
from dataclasses import dataclass

import jwt

from regadmin.entities import Actor, Session, User
from regadmin.errors import NotFound, Unauthenticated
from regadmin.messages import Message
from regadmin.store import Store
from regadmin.store.sessions import OpenSession

_ALGORITHM = "HS256"

MOST_SHOWN = 50

_USE_INTERVAL = 300
"""Seconds for which further requests of a session do not write its last use again."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A user in his session. `token` is the JWT to send, or '' if the one he holds is still good."""

    user: User
    session_id: str
    token: str = ""


class Sessions:
    def __init__(self, store: Store, secret: str, issuer: str, jwt_ttl: int, cookie_ttl: int):
        self._store = store
        self._secret = secret
        self._issuer = issuer
        self._jwt_ttl = jwt_ttl
        self.cookie_ttl = cookie_ttl
        self._seen: dict[str, int] = {}

    def start(self, user: User, address: str, user_agent: str) -> SignedIn:
        now = self._store.now()
        session = Session(secrets.token_urlsafe(24), user.id, now, now + self.cookie_ttl)
        with self._store.transaction():
            self._store.sessions.create(session, address, user_agent[:255])
            self._store.users.note_sign_in(user.id)
            self._store.activity.add("signed in", user.login, user.login, address)
        return SignedIn(user, session.id, self._sign(session))

    def list_of(self, user: User) -> dict[str, OpenSession]:
        """His open sessions, the one that was used last first, by a name that says nothing of their secret ids.

        Of more than MOST_SHOWN the oldest are left out: scripts that never sign out leave many.
        """
        return {_name(row.session.id): row for row in self._store.sessions.list_of(user.id, MOST_SHOWN)}

    def end_named(self, user: User, name: str, by: Actor) -> str:
        """End the session of his that `list_of` gives this name, and return its id. Raises NotFound."""
        found = self.list_of(user).get(name)
        if not found:
            raise NotFound(Message("this session is over already"))
        self.end(found.session.id, by)
        return found.session.id

    def end_others(self, user: User, by: Actor) -> None:
        """End all his sessions but the one in which he asks for it."""
        with self._store.transaction():
            self._store.sessions.delete_of(user.id, keep=by.session_id)
            self._store.activity.add("signed out", by.login, by.login, by.address)

    def note_failure(self, login: str, address: str) -> None:
        try:
            self._store.activity.add("sign-in failed", login[:64], login[:64], address)
        except sqlite3.OperationalError as error:
            # Wrong is wrong, whether it can be noted or not.
            log.warning("a failed sign-in of %r is not noted: %s", login[:64], error)

    def identify(self, token: str, is_renewed: bool = False) -> SignedIn:
        """Who holds this JWT. With `is_renewed`, one whose own time is over is replaced. Raises Unauthenticated."""
        claims = self._claims(token)
        session = self._store.sessions.find(claims["jti"])
        user = self._store.users.find(session.user_id) if session else None
        is_over = claims["exp"] <= self._store.now()
        if not user or user.is_blocked or (is_over and not is_renewed):
            raise Unauthenticated("the session is over; sign in again")
        self._note_use(session)
        return SignedIn(user, session.id, self._sign(session) if is_over else "")

    def end(self, session_id: str, by: Actor) -> None:
        with self._store.transaction():
            self._store.sessions.delete(session_id)
            self._store.activity.add("signed out", by.login, by.login, by.address)

    def csrf(self, key: str) -> str:
        """The token that a form or script must send along; `key` is the session, or a visitor's cookie."""
        return hmac.new(self._secret.encode(), b"csrf:" + key.encode(), hashlib.sha256).hexdigest()

    def _note_use(self, session: Session) -> None:
        now = self._store.now()
        if 0 <= now - self._seen.get(session.id, session.created_at) < _USE_INTERVAL:
            return
        if len(self._seen) > 10_000:
            self._seen.clear()
        self._seen[session.id] = now
        try:
            self._store.sessions.note_use(session.id, _USE_INTERVAL)
        except sqlite3.OperationalError as error:
            # A full or busy disk must not keep anybody out.
            log.warning("the last use of a session is not noted: %s", error)

    def _sign(self, session: Session) -> str:
        now = self._store.now()
        claims = {
            "iss": self._issuer,
            "sub": str(session.user_id),
            "jti": session.id,
            "iat": now,
            "exp": min(now + self._jwt_ttl, session.expires_at),
        }
        return jwt.encode(claims, self._secret, _ALGORITHM)

    def _claims(self, token: str) -> dict:
        # Our own clock decides about the end, for tests and so that an ended token can be renewed.
        options = {"require": ["exp", "jti"], "verify_exp": False, "verify_iat": False, "verify_nbf": False}
        try:
            return jwt.decode(token, self._secret, [_ALGORITHM], issuer=self._issuer, options=options)
        except jwt.InvalidTokenError:
            raise Unauthenticated("the session is over; sign in again") from None


def _name(session_id: str) -> str:
    return hashlib.sha256(session_id.encode()).hexdigest()[:20]
