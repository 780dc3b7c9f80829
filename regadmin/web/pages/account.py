"""Signing in and out, the own password, the theme"""

from bottle import response

from regadmin.errors import Forbidden, Invalid, Unauthenticated
from regadmin.services.repositories import Repositories
from regadmin.services.users import Users
from regadmin.store.listing import Listing
from regadmin.web import inputs
from regadmin.web.guards import Guards, identity
from regadmin.web.pages.rendering import THEMES, flash
from regadmin.web.pages.surface import PASSWORD_PATH, PageSurface, local_address, redirect
from regadmin.web.routes import Access, Route

YEAR = 365 * 24 * 3600


class AccountPages:
    def __init__(self, surface: PageSurface, guards: Guards, users: Users, repositories: Repositories):
        self._surface = surface
        self._guards = guards
        self._users = users
        self._repositories = repositories

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/", self.show_start, Access.PUBLIC),
            Route("GET", "/login", self.show_login, Access.PUBLIC),
            Route("POST", "/login", self.sign_in, Access.PUBLIC),
            Route("POST", "/logout", self.sign_out, Access.PUBLIC),
            Route("GET", PASSWORD_PATH, self.show_password, Access.SIGNED_IN),
            Route("POST", PASSWORD_PATH, self.change_password, Access.SIGNED_IN),
            Route("POST", "/theme", self.choose_theme, Access.PUBLIC),
        ]

    def show_start(self) -> str:
        user = identity().user
        sees_something = user or self._repositories.list(None, Listing(limit=1)).total
        return redirect("/repos" if sees_something else "/login")

    def show_login(self) -> str:
        target = local_address(inputs.query().get("next", [""])[0])
        if identity().user:
            return redirect(target)
        return self._render_login(target)

    def sign_in(self) -> str:
        form = inputs.form()
        target = local_address(form.get("next", [""])[0])
        login = form.get("login", [""])[0].strip()
        try:
            self._surface.check_csrf(form)
            user = self._guards.authenticate(login, form.get("password", [""])[0])
        except Unauthenticated:
            return self._render_login(target, login, "Login or password is wrong, or the account is blocked.", 401)
        except Forbidden as error:
            return self._render_login(target, login, _sentence(error.message), 403)
        self._guards.sign_in(user)
        return redirect(PASSWORD_PATH if user.must_change_password else target)

    def sign_out(self) -> str:
        self._surface.check_csrf(inputs.form())
        self._guards.sign_out(identity())
        flash("signed-out")
        return redirect("/login")

    def show_password(self) -> str:
        return self._render_password({})

    def change_password(self) -> str:
        form = inputs.form()
        old, new, repeat = (form.get(name, [""])[0] for name in ("old", "new", "repeat"))
        caller = identity()
        try:
            self._surface.check_csrf(form)
            if new != repeat:
                raise Invalid({"repeat": "must be the same as the new password"})
            self._users.change_password(caller.user, old, new, caller.actor)
        except Invalid as error:
            return self._render_password(error.fields, 422)
        except Forbidden as error:
            return self._render_password({"new": _sentence(error.message)}, 403)
        flash("password-changed")
        return redirect("/")

    def choose_theme(self) -> str:
        form = inputs.form()
        self._surface.check_csrf(form)
        theme = form.get("theme", [""])[0]
        if theme in THEMES:
            response.set_cookie("theme", theme, path="/", max_age=YEAR, samesite="lax", httponly=True)
        return redirect(local_address(form.get("next", [""])[0]))

    def _render_login(self, target: str, login: str = "", error: str = "", status: int = 200) -> str:
        return self._surface.render("login.html", status, next=target, login=login, error=error, notice="")

    def _render_password(self, errors: dict[str, str], status: int = 200) -> str:
        forced = identity().user.must_change_password
        return self._surface.render("password.html", status, errors=errors, forced=forced)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
