"""Who calls, and may he? One place for all surfaces."""

import hmac
import secrets
import time
from dataclasses import dataclass

from bottle import request, response

from regadmin.counters import Counters
from regadmin.entities import Actor, Role, User
from regadmin.errors import Error, Forbidden, SourceUnavailable, TooMany, Unauthenticated
from regadmin.memory import Memory
from regadmin.messages import Message
from regadmin.services.access_tokens import AccessTokens, is_secret
from regadmin.services.identities import Identities
from regadmin.services.metrics import SIGN_INS_REFUSED
from regadmin.services.sessions import Sessions, SignedIn
from regadmin.services.throttle import Throttle
from regadmin.web.inputs import basic_credentials, cookie
from regadmin.web.routes import Access

SESSION_COOKIE = "JWT"
CSRF_COOKIE = "XSRF-TOKEN"
VISITOR_COOKIE = "visitor"
CSRF_HEADER = "X-XSRF-TOKEN"

_RIGHT, _RIGHT_SECONDS = 10_000, 240
"""How many credentials are remembered as right, and for how long: a little less than their computation is."""

_ROLES = {
    Access.CLIENT: tuple(Role),
    Access.SIGNED_IN: tuple(Role),
    Access.MANAGER: (Role.ADMIN, Role.MANAGER),
    Access.ADMIN: (Role.ADMIN,),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """The caller. Without a user he is anonymous; with `session_id` he came by cookie."""

    user: User | None = None
    session_id: str = ""
    by_cookie: bool = False

    @property
    def actor(self) -> Actor:
        return Actor(self.user.login if self.user else "", address(), self.session_id)


def identity() -> Identity:
    """The caller of the request that is being answered, as the surface found him."""
    return request.environ["regadmin.identity"]


def address() -> str:
    return request.environ.get("REMOTE_ADDR", "")


def refuse_external(user: User | None) -> None:
    """Raises Forbidden for whom another source of identity knows: he may use the registry and read the API, no more."""
    if user and user.is_external:
        raise Forbidden(
            Message(
                "this is for accounts of this server; yours comes from elsewhere, "
                "and is good for the registry and for reading from the API"
            )
        )


def refuse_default_password(user: User) -> None:
    """Raises Forbidden while the first admin still has the password that everybody knows."""
    if user.must_change_password:
        raise Forbidden("the default password must be changed first: sign in to the web interface and choose one")


def _throttled(login: str, password: str) -> str:
    """Access tokens are counted apart: else a good one would clear the way to guess its owner's password."""
    return f"{login}:token" if is_secret(password) else login


class Guards:
    """`is_secure` marks cookies as for HTTPS only."""

    def __init__(
        self,
        identities: Identities,
        access_tokens: AccessTokens,
        sessions: Sessions,
        throttle: Throttle,
        counters: Counters,
        is_secure: bool,
    ):
        self._identities = identities
        self._access_tokens = access_tokens
        self._sessions = sessions
        self._throttle = throttle
        self._counters = counters
        self._is_secure = is_secure
        self._key = secrets.token_bytes(32)
        self._right: Memory[bool] = Memory(_RIGHT, time.monotonic)

    def identify(self, takes_tokens: bool = False) -> Identity:
        """Find out who calls, by Basic credentials, `X-JWT` header or cookie, in this order.

        Credentials that were sent and are wrong raise Unauthenticated: nobody becomes anonymous by mistake.
        Raises TooMany for those that came too soon, and Forbidden for an access token where none is taken.
        """
        request.environ["regadmin.identity"] = Identity()
        found = self._identify(takes_tokens)
        request.environ["regadmin.identity"] = found
        if found.user:
            request.environ["regadmin.login"] = found.user.login
        return found

    def identify_visitor(self) -> Identity:
        """Like `identify`, for pages: a session that is over leaves an anonymous visitor, wrong credentials do not."""
        try:
            return self.identify()
        except Unauthenticated:
            if request.environ.get("HTTP_AUTHORIZATION"):
                raise
            return identity()

    def allow(self, caller: Identity, access: Access) -> None:
        """Raises Unauthenticated or Forbidden."""
        if access is Access.PUBLIC:
            return
        if not caller.user:
            raise Unauthenticated("sign in first")
        refuse_default_password(caller.user)
        if caller.user.role not in _ROLES[access]:
            raise Forbidden(
                Message("this needs the role %(needed)s; yours is %(role)s", needed=access, role=caller.user.role)
            )

    def check_csrf(self, caller: Identity, sent: str) -> None:
        """A browser sends cookies along by itself, so a change needs what only our pages know. Raises Forbidden."""
        if not hmac.compare_digest(sent.encode(), self.csrf(caller).encode()):
            raise Forbidden(Message("the form was too old or came from elsewhere; try it again"))

    def csrf(self, caller: Identity) -> str:
        """What a form of this caller must send along; a visitor without a session is known by a cookie."""
        return self._sessions.csrf(caller.session_id or self._visitor())

    def authenticate(self, login: str, password: str, takes_tokens: bool = False) -> User:
        """Check the credentials; a failure is noted. Raises Unauthenticated, and TooMany without a look at them.

        Raises SourceUnavailable if they cannot be checked now, which is no failure of whoever sent them, and Forbidden
        for a good access token in place of the password, unless this door takes tokens.
        """
        request.environ["regadmin.login"] = login
        try:
            user = self._find(login, password)
        except Unauthenticated:
            self._counters.add(SIGN_INS_REFUSED, "credentials")
            self._sessions.note_failure(login, address())
            raise
        except TooMany:
            self._counters.add(SIGN_INS_REFUSED, "throttled")
            raise
        except SourceUnavailable:
            self._counters.add(SIGN_INS_REFUSED, "unavailable")
            raise
        if user.access_token and not takes_tokens:
            raise Forbidden(Message("an access token is only for the registry and for reading it; use the password"))
        if not user.is_external:
            self._right.put(self._digest(login, password), True, _RIGHT_SECONDS)
        return user

    def _find(self, login: str, password: str) -> User:
        # The throttle lets attempts wait for each other, so the bound on those that may hang stands around it.
        with (
            self._identities.place(login, password),
            self._throttle.attempt(_throttled(login, password), password, address()),
        ):
            by_token = self._access_tokens.authenticate(login, password, address())
            return by_token or self._identities.authenticate(login, password)

    def are_quick(self, authorization: str) -> bool:
        """Whether the credentials of this header are quickly verified, because they were right lately or are a token.

        It says how long they will take, not who calls.
        """
        try:
            credentials = basic_credentials(authorization)
        except Error:
            return False
        return (
            bool(self._right.get(self._digest(*credentials)))
            or self._identities.are_known(*credentials)
            or self._access_tokens.knows(*credentials)
        )

    def sign_in(self, user: User) -> Identity:
        """Start a session and set the cookies. Raises Forbidden."""
        refuse_external(user)
        signed_in = self._sessions.start(user, address(), request.environ.get("HTTP_USER_AGENT", ""))
        self._set_cookies(signed_in)
        return Identity(signed_in.user, signed_in.session_id, by_cookie=True)

    def sign_out(self, caller: Identity) -> None:
        if caller.session_id:
            self._sessions.end(caller.session_id, caller.actor)
        for name in (SESSION_COOKIE, CSRF_COOKIE):
            response.delete_cookie(name, path="/")

    def _identify(self, takes_tokens: bool) -> Identity:
        header = request.environ.get("HTTP_AUTHORIZATION")
        if header:
            return Identity(self.authenticate(*basic_credentials(header), takes_tokens))
        token = request.environ.get("HTTP_X_JWT")
        if token:
            signed_in = self._sessions.identify(token)
            return Identity(signed_in.user, signed_in.session_id)
        token = cookie(SESSION_COOKIE)
        if token:
            signed_in = self._sessions.identify(token, is_renewed=True)
            if signed_in.token:
                self._set_cookies(signed_in)
            return Identity(signed_in.user, signed_in.session_id, by_cookie=True)
        return Identity()

    def _digest(self, login: str, password: str) -> bytes:
        return hmac.digest(self._key, f"{login}\0{password}".encode("utf-8", "surrogatepass"), "sha256")

    def _is_encrypted(self) -> bool:
        """Whether the browser came by HTTPS, to us or to a proxy that we believe."""
        return self._is_secure or request.environ.get("wsgi.url_scheme") == "https"

    def _visitor(self) -> str:
        known = cookie(VISITOR_COOKIE) or request.environ.get("regadmin.visitor")
        if not known:
            known = request.environ["regadmin.visitor"] = secrets.token_urlsafe(24)
            secure = self._is_encrypted()
            response.set_cookie(VISITOR_COOKIE, known, path="/", httponly=True, secure=secure, samesite="lax")
        return known

    def _set_cookies(self, signed_in: SignedIn) -> None:
        common = {"path": "/", "max_age": self._sessions.cookie_ttl, "secure": self._is_encrypted(), "samesite": "lax"}
        response.set_cookie(SESSION_COOKIE, signed_in.token, httponly=True, **common)
        # Readable on purpose: a script of our own origin copies it into the header.
        response.set_cookie(CSRF_COOKIE, self._sessions.csrf(signed_in.session_id), **common)
