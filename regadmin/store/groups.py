"""Groups of users."""

import json
import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from regadmin.entities import DEFAULT_GROUP_ID, Group, Page
from regadmin.store.database import Database, like
from regadmin.store.listing import Listing, fetch

_COLUMNS = "SELECT id, name, description, source "
_WHERE = r"""
FROM groups
WHERE (:q IS NULL OR name LIKE :q ESCAPE '\' OR description LIKE :q ESCAPE '\')
  AND (:ids IS NULL OR id IN (SELECT value FROM json_each(:ids)))
  AND (:name IS NULL OR name = :name)
"""
_ORDERS = {"id": "id", "name": "name", "description": "description COLLATE NOCASE"}
_SUMMARY_COLUMNS = """
SELECT id, name, description, source,
       (SELECT count(*) FROM memberships m WHERE m.group_id = groups.id) AS member_count,
       (SELECT count(*) FROM rules r WHERE r.group_id = groups.id) AS rule_count
"""
_SUMMARY_ORDERS = _ORDERS | {name: name for name in ("member_count", "rule_count")}


class GroupSummary(NamedTuple):
    group: Group
    member_count: int
    rule_count: int


class GroupStore:
    def __init__(self, database: Database):
        self._database = database

    def list(self, listing: Listing) -> Page:
        ids = listing.filters.get("ids")
        parameters = {
            "q": like(listing.filters.get("q")),
            "ids": None if ids is None else json.dumps(ids),
            "name": listing.filters.get("name"),
        }
        return fetch(self._database, _COLUMNS, _WHERE, _ORDERS, listing, parameters, _group)

    def list_summaries(self, listing: Listing) -> Page:
        parameters = {"q": like(listing.filters.get("q")), "ids": None, "name": None}
        return fetch(self._database, _SUMMARY_COLUMNS, _WHERE, _SUMMARY_ORDERS, listing, parameters, _summary)

    def find_summary(self, group_id: int) -> GroupSummary | None:
        row = self._database.one(_SUMMARY_COLUMNS + "FROM groups WHERE id = ?", (group_id,))
        return _summary(row) if row else None

    def find(self, group_id: int) -> Group | None:
        row = self._database.one(_COLUMNS + "FROM groups WHERE id = ?", (group_id,))
        return _group(row) if row else None

    def find_named(self, names: Iterable[str]) -> tuple[Group, ...]:
        """Those of exactly these names that there are."""
        names = list(names)
        rows = names and self._database.all(
            _COLUMNS + "FROM groups WHERE name COLLATE BINARY IN (SELECT value FROM json_each(?)) ORDER BY id",
            (json.dumps(names),),
        )
        return tuple(map(_group, rows))

    def create(self, name: str, description: str, source: str = "") -> Group:
        """Raises sqlite3.IntegrityError if the name is taken."""
        row = self._database.one(
            "INSERT INTO groups (name, description, source) VALUES (?, ?, ?) RETURNING *", (name, description, source)
        )
        return _group(row)

    def update(self, group: Group) -> Group:
        self._database.execute(
            "UPDATE groups SET name = ?, description = ?, source = ? WHERE id = ?",
            (group.name, group.description, group.source, group.id),
        )
        return group

    def forget_sources(self) -> None:
        self._database.execute("UPDATE groups SET source = '' WHERE source <> ''")

    def delete(self, group_id: int) -> None:
        """Its rules and memberships go with it; who was in no other group is in the default one from now on."""
        with self._database.transaction():
            self._database.execute("DELETE FROM groups WHERE id = ?", (group_id,))
            self._database.execute(
                """
                INSERT INTO memberships (user_id, group_id, position)
                SELECT id, ?, 0 FROM users WHERE id NOT IN (SELECT user_id FROM memberships)
                """,
                (DEFAULT_GROUP_ID,),
            )


def _group(row: sqlite3.Row) -> Group:
    return Group(row["id"], row["name"], row["description"], row["source"])


def _summary(row: sqlite3.Row) -> GroupSummary:
    return GroupSummary(_group(row), row["member_count"], row["rule_count"])
