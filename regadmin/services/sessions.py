"""Sessions: a signed JWT for the browser, a row in the store for the server.

The JWT lives for `jwt_ttl` seconds and is renewed while the session, which lives for `cookie_ttl`, lasts.
Without its row a JWT is worth nothing: sign-out, block and password change remove the row.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass

import jwt

from regadmin.entities import Actor, Session, User
from regadmin.errors import Unauthenticated
from regadmin.store import Store

_ALGORITHM = "HS256"


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

    def start(self, user: User, address: str, user_agent: str) -> SignedIn:
        now = self._store.now()
        session = Session(secrets.token_urlsafe(24), user.id, now, now + self.cookie_ttl)
        with self._store.transaction():
            self._store.sessions.create(session, address, user_agent[:255])
            self._store.users.note_sign_in(user.id)
            self._store.activity.add("signed in", user.login, user.login, address)
        return SignedIn(user, session.id, self._sign(session))

    def note_failure(self, login: str, address: str) -> None:
        self._store.activity.add("sign-in failed", login[:64], login[:64], address)

    def identify(self, token: str, is_renewed: bool = False) -> SignedIn:
        """Who holds this JWT. With `is_renewed`, one whose own time is over is replaced. Raises Unauthenticated."""
        claims = self._claims(token)
        session = self._store.sessions.find(claims["jti"])
        user = self._store.users.find(session.user_id) if session else None
        is_over = claims["exp"] <= self._store.now()
        if not user or user.is_blocked or (is_over and not is_renewed):
            raise Unauthenticated("the session is over; sign in again")
        return SignedIn(user, session.id, self._sign(session) if is_over else "")

    def end(self, session_id: str, by: Actor) -> None:
        with self._store.transaction():
            self._store.sessions.delete(session_id)
            self._store.activity.add("signed out", by.login, by.login, by.address)

    def csrf(self, key: str) -> str:
        """The token that a form or script must send along; `key` is the session, or a visitor's cookie."""
        return hmac.new(self._secret.encode(), b"csrf:" + key.encode(), hashlib.sha256).hexdigest()

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
