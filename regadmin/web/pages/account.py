"""The own account: name, password, language, theme, time zone, access tokens, sessions and rights"""

from dataclasses import replace

from bottle import response

from regadmin.entities import Role, User
from regadmin.errors import Invalid
from regadmin.languages import LANGUAGES
from regadmin.messages import Message
from regadmin.services.access_tokens import AccessTokens
from regadmin.services.repositories import Repositories
from regadmin.services.rules import Rules
from regadmin.services.sessions import Sessions
from regadmin.services.sources import refuse_change
from regadmin.services.users import Users, time_zones
from regadmin.store.listing import Listing
from regadmin.web import inputs
from regadmin.web.guards import Guards, identity
from regadmin.web.pages import forms
from regadmin.web.pages.devices import device
from regadmin.web.pages.rendering import THEMES, flash, theme
from regadmin.web.pages.surface import PASSWORD_PATH, PageSurface, local_address, redirect
from regadmin.web.routes import Access, Route

PATH = "/account"
SHOWN = 20
"""Rules and repositories on the page."""

YEAR = 365 * 24 * 3600
_OTHERS = "others"


class AccountPages:
    """`rules_hold` is false where the registry knows neither rules nor access tokens."""

    def __init__(
        self,
        surface: PageSurface,
        guards: Guards,
        users: Users,
        access_tokens: AccessTokens,
        sessions: Sessions,
        repositories: Repositories,
        rules: Rules,
        rules_hold: bool,
    ):
        self._surface = surface
        self._guards = guards
        self._users = users
        self._access_tokens = access_tokens
        self._sessions = sessions
        self._repositories = repositories
        self._rules = rules
        self._rules_hold = rules_hold

    def routes(self) -> list[Route]:
        return [
            Route("GET", PATH, self.show_account, Access.SIGNED_IN),
            Route("POST", PATH, self.change_preferences, Access.SIGNED_IN),
            Route("POST", PATH + "/sessions", self.end_sessions, Access.SIGNED_IN),
            Route("GET", PASSWORD_PATH, self.show_password, Access.SIGNED_IN),
            Route("POST", PASSWORD_PATH, self.change_password, Access.SIGNED_IN),
            Route("POST", "/theme", self.choose_theme, Access.PUBLIC),
            Route("POST", "/language", self.choose_language, Access.PUBLIC),
        ]

    def show_account(self) -> str:
        user = identity().user
        values = {"name": user.name, "language": user.language, "time_zone": user.time_zone}
        return self._render(values | {"theme": theme(), "shortcuts": inputs.cookie("shortcuts") != "off"})

    def change_preferences(self) -> str:
        form, caller = inputs.form(), identity()
        values = {name: forms.text(form, name) for name in ("name", "language", "time_zone", "theme")}
        values["shortcuts"] = "shortcuts" in form
        chosen = {name: values[name] for name in ("name", "language", "time_zone")}
        try:
            self._surface.check_csrf(form)
            self._users.change_preferences(caller.user, caller.actor, **chosen)
        except forms.REFUSALS as error:
            return self._render(values, forms.problems(error), forms.status(error))
        _keep("language", values["language"])
        if values["theme"] in THEMES:
            _keep("theme", values["theme"])
        _keep("shortcuts", "" if values["shortcuts"] else "off", is_hidden=False)
        flash("preferences-changed")
        return redirect(PATH)

    def end_sessions(self) -> str:
        form, caller = inputs.form(), identity()
        self._surface.check_csrf(form)
        name = forms.text(form, "session")
        if name == _OTHERS:
            self._sessions.end_others(caller.user, caller.actor)
            flash("sessions-ended")
            return redirect(PATH + "#sessions")
        if self._sessions.end_named(caller.user, name, caller.actor) == caller.session_id:
            self._guards.sign_out(replace(caller, session_id=""))
            flash("signed-out")
            return redirect("/login")
        flash("session-ended")
        return redirect(PATH + "#sessions")

    def show_password(self) -> str:
        refuse_change(identity().user, identity().actor)
        return self._render_password(local_address(inputs.query().get("next", [""])[0]), {})

    def change_password(self) -> str:
        form = inputs.form()
        old, new, repeat = (form.get(name, [""])[0] for name in ("old", "new", "repeat"))
        caller, target = identity(), local_address(forms.text(form, "next"))
        try:
            self._surface.check_csrf(form)
            if new != repeat:
                raise Invalid({"repeat": Message("must be the same as the new password")})
            self._users.change_password(caller.user, old, new, caller.actor)
        except forms.REFUSALS as error:
            return self._render_password(target, forms.problems(error), forms.status(error))
        flash("password-changed")
        return redirect(target)

    def choose_theme(self) -> str:
        form = inputs.form()
        self._surface.check_csrf(form)
        chosen = forms.text(form, "theme")
        if chosen in THEMES:
            _keep("theme", chosen)
        return redirect(local_address(forms.text(form, "next")))

    def choose_language(self) -> str:
        form, user = inputs.form(), identity().user
        self._surface.check_csrf(form)
        chosen = forms.text(form, "language")
        if chosen in LANGUAGES:
            _keep("language", chosen)
            if user:
                self._users.choose_language(user, chosen)
        return redirect(local_address(forms.text(form, "next")))

    def _render(self, values: dict, errors: dict | None = None, status: int = 200) -> str:
        caller = identity()
        rules = [rule for rule in self._users.list_rules(caller.user) if not rule.is_disabled]
        repositories = self._repositories.list(_reader(caller.user), Listing(sort="name", limit=SHOWN))
        names = [repository.name for repository in repositories.rows]
        sessions = self._sessions.list_of(caller.user)
        return self._surface.render(
            "account/show.html",
            status,
            values=values,
            errors=errors or {},
            time_zones=time_zones(),
            sessions=[(name, row, device(row.user_agent)) for name, row in sessions.items()],
            session_id=caller.session_id,
            tokens=self._access_tokens.list_of(caller.user),
            rules_hold=self._rules_hold,
            rules=rules,
            groups={group.id: group for group in caller.user.groups},
            names=names,
            total=repositories.total,
            rights=self._rules.rights(caller.user, names),
            shown=SHOWN,
        )

    def _render_password(self, target: str, errors: dict[str, str], status: int = 200) -> str:
        forced = identity().user.must_change_password
        return self._surface.render("password.html", status, next=target, errors=errors, forced=forced)


def _reader(user: User) -> User:
    """A manager sees all repositories here, but towards the registry he has no more than his rules give."""
    return replace(user, role=Role.USER) if user.role is Role.MANAGER else user


def _keep(name: str, value: str, is_hidden: bool = True) -> None:
    """In this browser, for a year; '' forgets it. A cookie that is not hidden can be read by our scripts."""
    if value:
        response.set_cookie(name, value, path="/", max_age=YEAR, samesite="lax", httponly=is_hidden)
    else:
        response.delete_cookie(name, path="/")
