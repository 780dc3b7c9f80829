"""Groups of users."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict, replace

from regadmin.entities import DEFAULT_GROUP_ID, Actor, Group, Page
from regadmin.errors import Conflict, Invalid, NotFound
from regadmin.messages import Message
from regadmin.services.sources import refuse_change, why_not_change
from regadmin.store import Store
from regadmin.store.groups import GroupSummary
from regadmin.store.listing import Listing

MAX_TEXT = 255


class Groups:
    def __init__(self, store: Store):
        self._store = store

    def list(self, listing: Listing) -> Page:
        return self._store.groups.list(listing)

    def list_summaries(self, listing: Listing) -> Page:
        """Like `list`, but the rows are GroupSummary, and their counts can be sorted by."""
        return self._store.groups.list_summaries(listing)

    def find_summary(self, group_id: int) -> GroupSummary:
        """Raises NotFound."""
        self.find(group_id)
        return self._store.groups.find_summary(group_id)

    def find(self, group_id: int) -> Group:
        group = self._store.groups.find(group_id)
        if not group:
            raise NotFound(Message("there is no group %(group)s", group=group_id))
        return group

    def create(self, by: Actor, name: str = "", description: str = "", source: str = "") -> Group:
        """Raises Invalid and Conflict."""
        _check(name, description)
        with self._store.transaction():
            try:
                group = self._store.groups.create(name, description, source)
            except sqlite3.IntegrityError:
                raise Conflict(Message("is taken by another group"), "name") from None
            self._store.activity.add("group created", by.login, name, by.address, asdict(group))
            return group

    def update(self, group_id: int, by: Actor, **fields) -> Group:
        """Change the given fields. Raises Invalid, Conflict, Forbidden and NotFound."""
        with self._store.transaction():
            old = self.find(group_id)
            refuse_change(old, by)
            new = replace(old, **fields)
            _check(new.name, new.description)
            try:
                self._store.groups.update(new)
            except sqlite3.IntegrityError:
                raise Conflict(Message("is taken by another group"), "name") from None
            details = {"before": asdict(old), "after": asdict(new)}
            self._store.activity.add("group changed", by.login, new.name, by.address, details)
            return new

    def delete(self, group_id: int, by: Actor) -> Group:
        """Its rules go with it; its members stay. Raises NotFound, Forbidden and Conflict."""
        with self._store.transaction():
            group = self.find(group_id)
            refuse_change(group, by)
            if group.id == DEFAULT_GROUP_ID:
                raise Conflict(_why_it_stays(group))
            self._store.groups.delete(group_id)
            self._store.activity.add("group deleted", by.login, group.name, by.address, asdict(group))
            return group

    def why_not_delete(self, group: Group) -> str:
        """The reason why the group cannot be deleted, or ''."""
        return _why_it_stays(group) if group.id == DEFAULT_GROUP_ID else why_not_change(group)


def _why_it_stays(group: Group) -> Message:
    return Message("the group %(group)s is the one of users without another; it stays", group=group.name)


def _check(name: str, description: str) -> None:
    wrong = {}
    if not 0 < len(name) <= MAX_TEXT or not name.isprintable() or name != name.strip():
        wrong["name"] = Message(
            "must hold 1 to %(most)s printable characters, without spaces around them", most=MAX_TEXT
        )
    if len(description) > 10 * MAX_TEXT:
        wrong["description"] = Message("must hold at most %(most)s characters", most=10 * MAX_TEXT)
    if wrong:
        raise Invalid(wrong)
