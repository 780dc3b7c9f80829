"""Access tokens: made by their owner, or for a robot by an admin; shown once; revoked by both"""

import shlex
from datetime import date, datetime, time, timedelta

from regadmin.entities import Reach, User
from regadmin.errors import Error, Forbidden, Invalid
from regadmin.messages import Message
from regadmin.services.access_tokens import AccessTokens
from regadmin.services.users import Users
from regadmin.web import inputs
from regadmin.web.answers import status_of
from regadmin.web.guards import identity
from regadmin.web.pages import forms
from regadmin.web.pages.rendering import flash, time_zone
from regadmin.web.pages.surface import PageSurface, redirect
from regadmin.web.routes import Access, Route

DAYS = ("7", "30", "90", "365")
NEVER, ON_DATE = "never", "date"
ALL = "all"
"""In place of an action: whatever the owner may do."""

_FIELDS = ("name", "action", "repositories", "lifetime", "date")
_BLANK = {"name": "", "action": ALL, "repositories": "", "lifetime": "90", "date": ""}


class AccessTokenPages:
    """`rules_hold` is false where the registry knows neither rules nor access tokens."""

    def __init__(self, surface: PageSurface, users: Users, access_tokens: AccessTokens, rules_hold: bool):
        self._surface = surface
        self._users = users
        self._access_tokens = access_tokens
        self._rules_hold = rules_hold

    def routes(self) -> list[Route]:
        own, robots = "/account/tokens", "/users/<user_id:int>/tokens"
        return [
            Route("GET", own + "/new", self.show_new, Access.SIGNED_IN),
            Route("POST", own + "/new", self.create_token, Access.SIGNED_IN),
            Route("GET", own + "/<token_id:int>/revoke", self.ask_to_revoke, Access.SIGNED_IN),
            Route("POST", own + "/<token_id:int>/revoke", self.revoke_token, Access.SIGNED_IN),
            Route("GET", robots + "/new", self.show_new, Access.ADMIN),
            Route("POST", robots + "/new", self.create_token, Access.ADMIN),
            Route("GET", robots + "/<token_id:int>/revoke", self.ask_to_revoke, Access.ADMIN),
            Route("POST", robots + "/<token_id:int>/revoke", self.revoke_token, Access.ADMIN),
        ]

    def show_new(self, user_id: int | None = None) -> str:
        return self._render_form(self._maker_for(user_id), user_id, _BLANK)

    def create_token(self, user_id: int | None = None) -> str:
        """The answer itself shows the secret: it is kept nowhere from where another page could take it."""
        owner, form = self._maker_for(user_id), inputs.form()
        values = {name: forms.text(form, name) for name in _FIELDS}
        try:
            self._surface.check_csrf(form)
            scope, expires_at = _scope(values), self._expiry(values)
            by = identity().actor
            token, secret = self._access_tokens.create(owner, by, values["name"], scope, expires_at)
        except forms.REFUSALS as error:
            return self._render_form(owner, user_id, values, _problems(error), forms.status(error))
        return self._surface.render(
            "tokens/created.html",
            owner=owner,
            back=_home(user_id),
            token=token,
            secret=secret,
            shell_login=shlex.quote(owner.login),
            rules_hold=self._rules_hold,
        )

    def ask_to_revoke(self, token_id: int, user_id: int | None = None) -> str:
        return self._ask(user_id, token_id)

    def revoke_token(self, token_id: int, user_id: int | None = None) -> str:
        owner = self._owner(user_id)
        try:
            self._surface.check_csrf(inputs.form())
            self._access_tokens.revoke(owner, token_id, identity().actor)
        except Forbidden as error:
            return self._ask(user_id, token_id, error)
        flash("access-token-revoked")
        return redirect(_home(user_id))

    def _owner(self, user_id: int | None) -> User:
        return identity().user if user_id is None else self._users.find(user_id)

    def _maker_for(self, user_id: int | None) -> User:
        """The owner of a new token. Raises Forbidden for a person that somebody else would act as."""
        owner = self._owner(user_id)
        if user_id is not None and not owner.is_robot:
            raise Forbidden(Message("people make their access tokens themselves; an admin makes those of robots"))
        return owner

    def _expiry(self, values: dict[str, str]) -> int | None:
        """Raises Invalid."""
        chosen = values["lifetime"]
        if chosen != ON_DATE and values["date"]:
            raise Invalid({"date": Message("counts only with “After a day that you choose”: choose that, or empty it")})
        if chosen == NEVER:
            return None
        if chosen in DAYS:
            return self._access_tokens.days_from_now(int(chosen))
        if chosen != ON_DATE:
            raise Invalid({"lifetime": Message("%(name)s is none of those that are offered", name="lifetime")})
        try:
            day = date.fromisoformat(values["date"])
            return int(datetime.combine(day + timedelta(1), time.min, time_zone()).timestamp())
        except (ValueError, OverflowError):
            raise Invalid({"date": Message("must be a date, as in 2030-12-31")}) from None

    def _render_form(
        self, owner: User, user_id: int | None, values: dict, errors: dict | None = None, status: int = 200
    ) -> str:
        return self._surface.render(
            "tokens/form.html",
            status,
            owner=owner,
            is_own=user_id is None,
            back=_home(user_id),
            values=values,
            errors=errors or {},
            days=DAYS,
            rules_hold=self._rules_hold,
        )

    def _ask(self, user_id: int | None, token_id: int, error: Error | None = None) -> str:
        owner = self._owner(user_id)
        return self._surface.question(
            "tokens/revoke.html",
            status_of(error) if error else 200,
            owner=owner,
            is_own=user_id is None,
            back=_home(user_id),
            token=self._access_tokens.find_of(owner, token_id),
            problem=error.message if error else "",
        )


def _home(user_id: int | None) -> str:
    return "/account" if user_id is None else f"/users/{user_id}"


def _scope(values: dict[str, str]) -> tuple[Reach, ...]:
    """One action for all lines; without a line it is for every repository. Raises Invalid."""
    names = values["repositories"].split()
    if values["action"] not in (ALL, "pull", "push"):
        raise Invalid({"action": Message("%(name)s is none of those that are offered", name="action")})
    if values["action"] == ALL:
        return tuple(Reach(name, "*") for name in names)
    return tuple(Reach(name, values["action"]) for name in names or ["**"])


def _problems(error: Error) -> dict[str, str]:
    """By the names of the form's fields."""
    names = {"scope": "repositories", "expires_at": "date"}
    return {names.get(name, name): reason for name, reason in forms.problems(error).items()}
