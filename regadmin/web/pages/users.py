"""Users: all of them, one of them, and the forms that create, change and delete"""

from dataclasses import replace
from urllib.parse import urlencode

from regadmin.entities import Page, Role, User
from regadmin.errors import Conflict, Error, Forbidden, Malformed
from regadmin.messages import Message
from regadmin.services.access_tokens import AccessTokens
from regadmin.services.groups import Groups
from regadmin.services.repositories import Repositories
from regadmin.services.rules import Rules
from regadmin.services.sources import refuse_change
from regadmin.services.users import Users, generate_password
from regadmin.store.listing import Listing
from regadmin.web import inputs
from regadmin.web.answers import status_of
from regadmin.web.guards import identity
from regadmin.web.pages import forms
from regadmin.web.pages.queries import address_of, read_query
from regadmin.web.pages.rendering import flash
from regadmin.web.pages.surface import PageSurface, gone, redirect
from regadmin.web.routes import Access, Route

STATUSES = {"": None, "active": False, "blocked": True}
SHOWN = 20
"""Rules, repositories and events on the page of a user."""

ROBOT = "robot"
"""Chosen in the form in place of a role."""

_CHANGEABLE = ("name", "role", "is_blocked", "description")


class UserPages:
    """`rules_hold` is false where the registry knows neither rules nor access tokens."""

    def __init__(
        self,
        surface: PageSurface,
        users: Users,
        access_tokens: AccessTokens,
        groups: Groups,
        repositories: Repositories,
        rules: Rules,
        rules_hold: bool,
    ):
        self._surface = surface
        self._users = users
        self._access_tokens = access_tokens
        self._groups = groups
        self._repositories = repositories
        self._rules = rules
        self._rules_hold = rules_hold

    def routes(self) -> list[Route]:
        one = "/users/<user_id:int>"
        return [
            Route("GET", "/users", self.list_users, Access.ADMIN),
            Route("GET", "/users/new", self.show_new, Access.ADMIN),
            Route("POST", "/users/new", self.create_user, Access.ADMIN),
            Route("GET", one, self.show_user, Access.ADMIN),
            Route("GET", one + "/edit", self.show_edit, Access.ADMIN),
            Route("POST", one + "/edit", self.update_user, Access.ADMIN),
            Route("GET", one + "/delete", self.show_delete, Access.ADMIN),
            Route("POST", one + "/delete", self.delete_user, Access.ADMIN),
        ]

    def list_users(self) -> str:
        query, chosen = read_query("login"), _filters()
        plain = address_of(query, "login")

        def url(**changes) -> str:
            return _with_filters(plain(**changes), chosen)

        filters = _kind(chosen["role"]) | {"is_blocked": STATUSES[chosen["status"]]}
        filters["group_id"] = int(chosen["group"]) if chosen["group"] else None
        return self._surface.list_page(
            "users/list.html",
            "users/_list.html",
            url(),
            page=self._users.list_summaries(query.listing(**filters)),
            query=query,
            url=url,
            chosen=chosen,
            groups=[(group.id, group.name) for group in self._all_groups()],
        )

    def show_user(self, user_id: int) -> str:
        summary = self._users.find_summary(user_id)
        account = summary.user
        page, rights = self._reach(account)
        return self._surface.render(
            "users/show.html",
            summary=summary,
            account=account,
            tokens=self._access_tokens.list_of(account),
            rules_hold=self._rules_hold,
            rules=self._users.list_rules(account),
            groups={group.id: group for group in account.groups},
            page=page,
            rights=rights,
            events=self._users.list_activity(account, SHOWN),
            shown=SHOWN,
        )

    def show_new(self) -> str:
        return self._render_form(None, _blank())

    def create_user(self) -> str:
        form = inputs.form()
        values = _read(form)
        try:
            self._surface.check_csrf(form)
            if "generate" in form:
                return self._render_form(None, _generated(values))
            fields = {name: values[name] for name in _CHANGEABLE}
            by, groups = identity().actor, values["group_ids"]
            fields |= {"role": Role.USER, "is_robot": True} if values["role"] == ROBOT else {}
            created = self._users.create(by, values["password"], groups, login=values["login"], **fields)
        except forms.REFUSALS as error:
            return self._render_form(None, values, forms.problems(error), forms.status(error))
        flash("user-created")
        return redirect(f"/users/{created.id}")

    def show_edit(self, user_id: int) -> str:
        account = self._users.find(user_id)
        refuse_change(account, identity().actor)
        return self._render_form(account, _values_of(account))

    def update_user(self, user_id: int) -> str:
        form, account = inputs.form(), self._users.find(user_id)
        values = _read(form | {"login": [account.login]} | ({"role": [account.role]} if account.is_robot else {}))
        try:
            self._surface.check_csrf(form)
            if "generate" in form:
                return self._render_form(account, _generated(values))
            fields = {name: values[name] for name in _CHANGEABLE}
            groups = _in_old_order(account, values["group_ids"])
            self._users.update(user_id, identity().actor, values["password"], groups, **fields)
        except forms.REFUSALS as error:
            return self._render_form(account, values, _problems(error, account, values), forms.status(error))
        flash("user-changed")
        return redirect(f"/users/{user_id}")

    def show_delete(self, user_id: int) -> str:
        return self._ask(user_id)

    def delete_user(self, user_id: int) -> str:
        try:
            self._surface.check_csrf(inputs.form())
            self._users.delete(user_id, identity().actor)
        except (Conflict, Forbidden) as error:
            return self._ask(user_id, error)
        flash("user-deleted")
        return gone("/users")

    def _reach(self, account: User) -> tuple[Page, dict]:
        """The first repositories that the registry lets him use, and his rights there."""
        if account.is_blocked:
            return Page([], 0), {}
        # A manager sees all repositories here, but towards the registry he has no more than his rules give.
        reader = replace(account, role=Role.USER) if account.role is Role.MANAGER else account
        page = self._repositories.list(reader, Listing(sort="name", limit=SHOWN))
        return page, self._rules.rights(account, [repository.name for repository in page.rows])

    def _all_groups(self) -> list:
        return self._groups.list(Listing(sort="name")).rows

    def _render_form(self, account: User | None, values: dict, errors: dict | None = None, status: int = 200) -> str:
        return self._surface.render(
            "users/form.html",
            status,
            account=account,
            values=values,
            errors=errors or {},
            groups=self._all_groups(),
        )

    def _ask(self, user_id: int, error: Error | None = None) -> str:
        summary = self._users.find_summary(user_id)
        return self._surface.question(
            "users/delete.html",
            status_of(error) if error else 200,
            summary=summary,
            account=summary.user,
            problem=error.message if error else "",
            refusal=self._users.why_not_delete(summary.user, identity().actor),
        )


def _filters() -> dict[str, str]:
    """Raises Malformed for what no filter offers."""
    asked = inputs.query()
    chosen = {name: asked.get(name, [""])[0] for name in ("role", "status", "group")}
    if chosen["role"] not in ("", *Role, ROBOT) or chosen["status"] not in STATUSES:
        raise Malformed(Message("%(name)s is none of those that are offered", name="role, status"))
    if chosen["group"] and not forms.numbers({"group": [chosen["group"]]}, "group"):
        raise Malformed(Message("%(name)s must be a number", name="group"))
    return chosen


def _kind(role: str) -> dict[str, str | bool | None]:
    """The filters for people of a role, or for robots."""
    if role == ROBOT:
        return {"is_robot": True}
    return {"role": role, "is_robot": False} if role else {}


def _with_filters(address: str, chosen: dict[str, str]) -> str:
    filters = urlencode({name: value for name, value in chosen.items() if value})
    return address + ("&" if "?" in address else "?") * bool(filters) + filters


def _blank() -> dict:
    return _values_of(User(0, "", "", Role.USER))


def _values_of(account: User) -> dict:
    return {
        "login": account.login,
        "name": account.name,
        "password": "",
        "is_shown": False,
        "role": account.role,
        "group_ids": [group.id for group in account.groups],
        "is_blocked": account.is_blocked,
        "description": account.description,
    }


def _read(form: dict[str, list[str]]) -> dict:
    login = forms.text(form, "login")
    return {
        "login": login,
        "name": forms.text(form, "name") or login,
        "password": form.get("password", [""])[0],
        "is_shown": "is_shown" in form,
        "role": forms.text(form, "role"),
        "group_ids": forms.numbers(form, "group"),
        "is_blocked": "is_blocked" in form,
        "description": forms.text(form, "description"),
    }


def _generated(values: dict) -> dict:
    return values | {"password": generate_password(), "is_shown": True}


def _in_old_order(account: User, group_ids: list[int]) -> list[int]:
    """The first group is the one that the REST API names, so ticking another must not change it."""
    kept = [group.id for group in account.groups if group.id in group_ids]
    return list(dict.fromkeys(kept + group_ids))


def _problems(error: Exception, account: User, values: dict) -> dict[str, str]:
    """Like `forms.problems`; what would lock somebody out stands at the field that would do it."""
    found = forms.problems(error)
    if isinstance(error, Conflict) and "" in found:
        return {"role" if values["role"] != account.role else "is_blocked": found[""]}
    return found
