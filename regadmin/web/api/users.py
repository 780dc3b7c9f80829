"""`/api/v1/users`"""

from regadmin.entities import User
from regadmin.errors import Invalid
from regadmin.services.users import Users
from regadmin.web import inputs
from regadmin.web.answers import done
from regadmin.web.api.parameters import boolean, fields, integer, integers, list_answer, listing, text
from regadmin.web.guards import identity
from regadmin.web.routes import Access, Route

_FIELDS = {
    "name": ("name", text),
    "login": ("login", text),
    "password": ("password", text),
    "role": ("role", text),
    "group": ("group", integer),
    "groups": ("group_ids", integers),
    "blocked": ("is_blocked", boolean),
    "robot": ("is_robot", boolean),
    "description": ("description", text),
}
_SORTS = {name: name for name in ("id", "name", "login", "role", "blocked", "description")}
_FILTERS = {
    "role": ("role", text),
    "login": ("login", text),
    "name": ("name", text),
    "group": ("group_id", integer),
    "blocked": ("is_blocked", boolean),
    "robot": ("is_robot", boolean),
}


class UsersApi:
    def __init__(self, users: Users):
        self._users = users

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/api/v1/users", self.list_users, Access.MANAGER),
            Route("GET", "/api/v1/users/<user_id:int>", self.show_user, Access.MANAGER),
            Route("POST", "/api/v1/users", self.create_user, Access.ADMIN),
            Route("PUT", "/api/v1/users/<user_id:int>", self.update_user, Access.ADMIN),
            Route("DELETE", "/api/v1/users/<user_id:int>", self.delete_user, Access.ADMIN),
        ]

    def list_users(self) -> str:
        return list_answer(self._users.list(listing(_SORTS, _FILTERS)), "users", _row)

    def show_user(self, user_id: int) -> str:
        user = self._users.find(user_id)
        return done("ok", user.id, _row(user))

    def create_user(self) -> str:
        user = self._users.create(identity().actor, **{"login": "", "password": ""} | _changes())
        return done("user created", user.id, _row(user))

    def update_user(self, user_id: int) -> str:
        user = self._users.update(user_id, identity().actor, **_changes(self._users.find(user_id)))
        return done("user updated", user.id, _row(user))

    def delete_user(self, user_id: int) -> str:
        user = self._users.delete(user_id, identity().actor)
        return done("user deleted", user.id)


def _changes(old: User | None = None) -> dict:
    changes = fields(inputs.json_body(), _FIELDS, ignored=("id", "source"))
    group = changes.pop("group", None)
    if group is not None:
        changes["group_ids"] = _groups(group, changes.get("group_ids"), [g.id for g in old.groups] if old else [])
    return changes


def _groups(first: int, given: list[int] | None, old: list[int]) -> list[int]:
    """`group` is the first of `groups`, but a client may send a whole row back of which it changed only one."""
    old_first = old[0] if old else 0
    if given is None:
        return [first]
    if given == old and first != old_first:
        return [first, *(group for group in given[1:] if group != first)]
    if first not in given and first != old_first:
        raise Invalid({"group": "is not among the groups"})
    return given


def _row(user: User) -> dict:
    return {
        "id": user.id,
        "name": user.name,
        "login": user.login,
        "password": "",
        "role": user.role,
        "group": user.groups[0].id if user.groups else 0,
        "groups": [group.id for group in user.groups],
        "blocked": user.is_blocked,
        "robot": user.is_robot,
        "description": user.description,
        "source": user.source,
    }
