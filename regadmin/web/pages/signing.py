"""Signing in and out, and where to begin"""

from regadmin.entities import Role
from regadmin.errors import Error, Forbidden, SourceUnavailable, TooMany, Unauthenticated
from regadmin.messages import Message
from regadmin.services.repositories import Repositories
from regadmin.store.listing import Listing
from regadmin.web import inputs
from regadmin.web.answers import status_of, tell_when
from regadmin.web.guards import Guards, identity
from regadmin.web.pages import forms
from regadmin.web.pages.rendering import flash
from regadmin.web.pages.surface import PageSurface, local_address, password_address, redirect
from regadmin.web.routes import Access, Route

WRONG = Message("login or password is wrong, or the account is blocked")


class SigningPages:
    def __init__(self, surface: PageSurface, guards: Guards, repositories: Repositories):
        self._surface = surface
        self._guards = guards
        self._repositories = repositories

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/", self.show_start, Access.PUBLIC),
            Route("GET", "/login", self.show_login, Access.PUBLIC),
            Route("POST", "/login", self.sign_in, Access.PUBLIC),
            Route("POST", "/logout", self.sign_out, Access.PUBLIC),
        ]

    def show_start(self) -> str:
        user = identity().user
        if user and user.role in (Role.ADMIN, Role.MANAGER):
            return redirect("/overview")
        sees_something = user or self._repositories.list(None, Listing(limit=1)).total
        return redirect("/repos" if sees_something else "/login")

    def show_login(self) -> str:
        target = local_address(inputs.query().get("next", [""])[0])
        if identity().user:
            return redirect(target)
        return self._render(target)

    def sign_in(self) -> str:
        form = inputs.form()
        target, login = local_address(forms.text(form, "next")), forms.text(form, "login")
        try:
            self._surface.check_csrf(form)
            user = self._guards.authenticate(login, form.get("password", [""])[0])
            self._guards.sign_in(user)
        except (Unauthenticated, Forbidden, TooMany, SourceUnavailable) as error:
            return self._render(target, login, error)
        return redirect(password_address(target) if user.must_change_password else target)

    def sign_out(self) -> str:
        self._surface.check_csrf(inputs.form())
        self._guards.sign_out(identity())
        flash("signed-out")
        return redirect("/login")

    def _render(self, target: str, login: str = "", error: Error | None = None) -> str:
        if error:
            tell_when(error)
        return self._surface.render(
            "login.html",
            status_of(error) if error else 200,
            next=target,
            login=login,
            error=WRONG if isinstance(error, Unauthenticated) else error.message if error else "",
            too_many=error if isinstance(error, TooMany) else None,
        )
