"""Groups: all of them, one with its members, and the forms that create, change and delete"""

from regadmin.entities import Group
from regadmin.errors import Conflict, Error, Forbidden
from regadmin.services.groups import Groups
from regadmin.services.sources import refuse_change
from regadmin.services.users import Users
from regadmin.store.listing import Listing
from regadmin.web import inputs
from regadmin.web.answers import status_of
from regadmin.web.guards import identity
from regadmin.web.pages import forms
from regadmin.web.pages.queries import address_of, read_query
from regadmin.web.pages.rendering import flash
from regadmin.web.pages.surface import PageSurface, gone, redirect
from regadmin.web.routes import Access, Route

SUGGESTED = 200
"""Logins that the field for a new member offers; any other can be typed."""


class GroupPages:
    def __init__(self, surface: PageSurface, groups: Groups, users: Users):
        self._surface = surface
        self._groups = groups
        self._users = users

    def routes(self) -> list[Route]:
        one = "/groups/<group_id:int>"
        return [
            Route("GET", "/groups", self.list_groups, Access.ADMIN),
            Route("GET", "/groups/new", self.show_new, Access.ADMIN),
            Route("POST", "/groups/new", self.create_group, Access.ADMIN),
            Route("GET", one, self.show_group, Access.ADMIN),
            Route("POST", one, self.change_members, Access.ADMIN),
            Route("GET", one + "/edit", self.show_edit, Access.ADMIN),
            Route("POST", one + "/edit", self.update_group, Access.ADMIN),
            Route("GET", one + "/delete", self.show_delete, Access.ADMIN),
            Route("POST", one + "/delete", self.delete_group, Access.ADMIN),
        ]

    def list_groups(self) -> str:
        query = read_query("name")
        url = address_of(query, "name")
        page = self._groups.list_summaries(query.listing())
        return self._surface.list_page(
            "groups/list.html", "groups/_list.html", url(), page=page, query=query, url=url
        )

    def show_group(self, group_id: int) -> str:
        return self._render_group(group_id)

    def show_new(self) -> str:
        return self._render_form(None, {"name": "", "description": ""})

    def create_group(self) -> str:
        form = inputs.form()
        values = _read(form)
        try:
            self._surface.check_csrf(form)
            created = self._groups.create(identity().actor, **values)
        except forms.REFUSALS as error:
            return self._render_form(None, values, forms.problems(error), forms.status(error))
        flash("group-created")
        return redirect(f"/groups/{created.id}")

    def show_edit(self, group_id: int) -> str:
        group = self._groups.find(group_id)
        refuse_change(group, identity().actor)
        return self._render_form(group, {"name": group.name, "description": group.description})

    def update_group(self, group_id: int) -> str:
        form, group = inputs.form(), self._groups.find(group_id)
        values = _read(form)
        try:
            self._surface.check_csrf(form)
            self._groups.update(group_id, identity().actor, **values)
        except forms.REFUSALS as error:
            return self._render_form(group, values, forms.problems(error), forms.status(error))
        flash("group-changed")
        return redirect(f"/groups/{group_id}")

    def change_members(self, group_id: int) -> str:
        """Add the user who is named, or remove the one whose button was pressed."""
        form, by = inputs.form(), identity().actor
        login, removed = forms.text(form, "login"), forms.numbers(form, "remove")
        self._groups.find(group_id)
        try:
            self._surface.check_csrf(form)
            if removed:
                self._users.leave(removed[0], group_id, by)
            else:
                self._users.join(login, group_id, by)
        except forms.REFUSALS as error:
            return self._render_group(group_id, login, forms.problems(error), forms.status(error))
        flash("member-removed" if removed else "member-added")
        return redirect(f"/groups/{group_id}")

    def show_delete(self, group_id: int) -> str:
        return self._ask(group_id)

    def delete_group(self, group_id: int) -> str:
        try:
            self._surface.check_csrf(inputs.form())
            self._groups.delete(group_id, identity().actor)
        except (Conflict, Forbidden) as error:
            return self._ask(group_id, error)
        flash("group-deleted")
        return gone("/groups")

    def _render_group(self, group_id: int, login: str = "", errors: dict | None = None, status: int = 200) -> str:
        summary = self._groups.find_summary(group_id)
        query = read_query("login")
        url = address_of(query, "login")
        context = {
            "summary": summary,
            "group": summary.group,
            "page": self._users.list_summaries(query.listing(group_id=group_id)),
            "query": query,
            "url": url,
            "login": login,
            "errors": errors or {},
            "suggested": self._suggested(group_id),
        }
        if errors:
            return self._surface.render("groups/show.html", status, **context)
        return self._surface.list_page("groups/show.html", "groups/_members.html", url(), **context)

    def _suggested(self, group_id: int) -> list[str]:
        users = self._users.list(Listing(sort="login", limit=SUGGESTED)).rows
        return [user.login for user in users if group_id not in [group.id for group in user.groups]]

    def _render_form(self, group: Group | None, values: dict, errors: dict | None = None, status: int = 200) -> str:
        return self._surface.render("groups/form.html", status, group=group, values=values, errors=errors or {})

    def _ask(self, group_id: int, error: Error | None = None) -> str:
        summary = self._groups.find_summary(group_id)
        return self._surface.question(
            "groups/delete.html",
            status_of(error) if error else 200,
            summary=summary,
            group=summary.group,
            problem=error.message if error else "",
            refusal=self._groups.why_not_delete(summary.group),
        )


def _read(form: dict[str, list[str]]) -> dict[str, str]:
    return {name: forms.text(form, name) for name in ("name", "description")}
