"""`/api/v1/groups`"""

from dataclasses import asdict

from regadmin.services.groups import Groups
from regadmin.web import inputs
from regadmin.web.answers import done
from regadmin.web.api.parameters import fields, list_answer, listing, text
from regadmin.web.guards import identity
from regadmin.web.routes import Access, Route

_FIELDS = {"name": ("name", text), "description": ("description", text)}
_SORTS = {name: name for name in ("id", "name", "description")}
_FILTERS = {"name": ("name", text)}


class GroupsApi:
    def __init__(self, groups: Groups):
        self._groups = groups

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/api/v1/groups", self.list_groups, Access.MANAGER),
            Route("GET", "/api/v1/groups/<group_id:int>", self.show_group, Access.MANAGER),
            Route("POST", "/api/v1/groups", self.create_group, Access.ADMIN),
            Route("PUT", "/api/v1/groups/<group_id:int>", self.update_group, Access.ADMIN),
            Route("DELETE", "/api/v1/groups/<group_id:int>", self.delete_group, Access.ADMIN),
        ]

    def list_groups(self) -> str:
        return list_answer(self._groups.list(listing(_SORTS, _FILTERS)), "groups", asdict)

    def show_group(self, group_id: int) -> str:
        return done("ok", group_id, asdict(self._groups.find(group_id)))

    def create_group(self) -> str:
        group = self._groups.create(identity().actor, **_changes())
        return done("group created", group.id, asdict(group))

    def update_group(self, group_id: int) -> str:
        group = self._groups.update(group_id, identity().actor, **_changes())
        return done("group updated", group.id, asdict(group))

    def delete_group(self, group_id: int) -> str:
        group = self._groups.delete(group_id, identity().actor)
        return done("group deleted", group.id)


def _changes() -> dict:
    return fields(inputs.json_body(), _FIELDS, ignored=("id", "source"))
