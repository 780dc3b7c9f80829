"""Access rules."""

from __future__ import annotations

import json
import sqlite3
from typing import NamedTuple

from regadmin.entities import EVERYONE_ID, REGISTERED_ID, Audience, Page, Rule, User
from regadmin.store.database import Database, like
from regadmin.store.listing import Listing, fetch

_OWNER_ID = (
    f"COALESCE(user_id, group_id, CASE audience WHEN 'registered' THEN {REGISTERED_ID} ELSE {EVERYONE_ID} END)"
)
_OWNER = """
COALESCE((SELECT login FROM users WHERE users.id = rules.user_id),
         (SELECT groups.name FROM groups WHERE groups.id = rules.group_id), '')
"""
_KIND = "CASE WHEN user_id IS NOT NULL THEN 'user' WHEN group_id IS NOT NULL THEN 'group' ELSE audience END"
_COLUMNS = """
SELECT id, name, resource_type, resource_name, action, user_id, group_id, audience, is_disabled, source
"""
_WHERE = (
    r"""
FROM rules
WHERE (:q IS NULL OR name LIKE :q ESCAPE '\' OR resource_name LIKE :q ESCAPE '\' OR """
    + _OWNER
    + r""" LIKE :q ESCAPE '\')
  AND (:ids IS NULL OR id IN (SELECT value FROM json_each(:ids)))
  AND (:name IS NULL OR name = :name)
  AND (:resource_type IS NULL OR resource_type = :resource_type)
  AND (:resource_name IS NULL OR resource_name = :resource_name)
  AND (:action IS NULL OR action = :action)
  AND (:is_disabled IS NULL OR is_disabled = :is_disabled)
  AND (:is_group IS NULL OR (group_id IS NOT NULL) = :is_group)
  AND (:owner_id IS NULL OR :owner_id = """
    + _OWNER_ID
    + ")\n  AND (:kind IS NULL OR :kind = "
    + _KIND
    + ")\n"
)
_ORDERS = {
    "id": "id",
    "name": "name COLLATE NOCASE",
    "owner_id": _OWNER_ID,
    "is_group": "group_id IS NOT NULL",
    "type": "resource_type",
    "resource_name": "resource_name",
    "action": "action",
    "disabled": "is_disabled",
    "owner": f"{_OWNER} COLLATE NOCASE",
}
FILTERS = ("name", "resource_type", "resource_name", "action", "is_disabled", "is_group", "owner_id", "kind")


class OwnedRule(NamedTuple):
    """A rule with the name of the user or group that owns it, '' if it belongs to no single one."""

    rule: Rule
    owner: str


class RuleStore:
    def __init__(self, database: Database):
        self._database = database

    def list(self, listing: Listing) -> Page:
        return fetch(self._database, _COLUMNS, _WHERE, _ORDERS, listing, _parameters(listing), _rule)

    def list_owned(self, listing: Listing) -> Page:
        """Like `list`, but the rows are OwnedRule."""
        columns = f"{_COLUMNS}, {_OWNER} AS owner"
        return fetch(self._database, columns, _WHERE, _ORDERS, listing, _parameters(listing), _owned)

    def repository_names(self, text: str, limit: int) -> list[str]:
        """The first names in the index that hold the text."""
        rows = self._database.all(
            r"SELECT name FROM repositories WHERE name LIKE :text ESCAPE '\' ORDER BY name LIMIT :limit",
            {"text": like(text) or "%", "limit": limit},
        )
        return [row["name"] for row in rows]

    def list_for(self, user: User | None) -> list[Rule]:
        """The enabled rules that belong to the user, to his groups and to those that he is one of.

        Of whom another source of identity knows, his groups are those that he comes with, and its rules are added.
        """
        if user is None:
            rows = self._database.all(
                _COLUMNS + "FROM rules WHERE audience = 'everyone' AND NOT is_disabled ORDER BY id"
            )
        else:
            rows = self._database.all(
                _COLUMNS
                + """
                FROM rules WHERE NOT is_disabled AND (user_id = :user OR audience IS NOT NULL
                  OR group_id IN (SELECT group_id FROM memberships WHERE user_id = :user)
                  OR group_id IN (SELECT value FROM json_each(:groups))) ORDER BY id
                """,
                {"user": user.id, "groups": json.dumps([group.id for group in user.groups if user.is_external])},
            )
        return [_rule(row) for row in rows] + list(user.rules if user else ())

    def list_reaching(self, user: User) -> list[Rule]:
        """Like `list_for`, with the disabled ones; his own come first, then those of his groups."""
        rows = self._database.all(
            _COLUMNS
            + """
            FROM rules WHERE user_id = :user OR audience IS NOT NULL
              OR group_id IN (SELECT group_id FROM memberships WHERE user_id = :user)
            ORDER BY user_id IS NULL, group_id IS NULL, resource_name, id
            """,
            {"user": user.id},
        )
        return [_rule(row) for row in rows]

    def has_enabled(self) -> bool:
        return self._database.one("SELECT 1 FROM rules WHERE NOT is_disabled LIMIT 1") is not None

    def find(self, rule_id: int) -> Rule | None:
        row = self._database.one(_COLUMNS + "FROM rules WHERE id = ?", (rule_id,))
        return _rule(row) if row else None

    def find_owned(self, rule_id: int) -> OwnedRule | None:
        row = self._database.one(f"{_COLUMNS}, {_OWNER} AS owner FROM rules WHERE id = ?", (rule_id,))
        return _owned(row) if row else None

    def create(self, rule: Rule) -> Rule:
        """Insert; the id is given here. Raises sqlite3.IntegrityError if an equal rule exists."""
        row = self._database.one(
            """
            INSERT INTO rules (name, user_id, group_id, audience, resource_type, resource_name, action,
                               is_disabled, source, created_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id
            """,
            _values(rule) + (self._database.now(),),
        )
        return self.find(row["id"])

    def update(self, rule: Rule) -> Rule:
        """Raises sqlite3.IntegrityError if an equal rule exists."""
        self._database.execute(
            """
            UPDATE rules SET name = ?, user_id = ?, group_id = ?, audience = ?, resource_type = ?,
                             resource_name = ?, action = ?, is_disabled = ?, source = ? WHERE id = ?
            """,
            _values(rule) + (rule.id,),
        )
        return rule

    def find_equal(self, rule: Rule) -> Rule | None:
        """Another rule with the same owner, resource and action."""
        row = self._database.one(
            _COLUMNS
            + """
            FROM rules WHERE user_id IS ? AND group_id IS ? AND audience IS ?
              AND resource_type = ? AND resource_name = ? AND action = ? AND id <> ?
            """,
            _values(rule)[1:7] + (rule.id,),
        )
        return _rule(row) if row else None

    def forget_sources(self) -> None:
        self._database.execute("UPDATE rules SET source = '' WHERE source <> ''")

    def delete(self, rule_id: int) -> None:
        self._database.execute("DELETE FROM rules WHERE id = ?", (rule_id,))


def _parameters(listing: Listing) -> dict:
    filters = listing.filters
    ids = filters.get("ids")
    parameters = {name: filters.get(name) for name in FILTERS}
    return parameters | {"q": like(filters.get("q")), "ids": None if ids is None else json.dumps(ids)}


def _values(rule: Rule) -> tuple:
    owner = (rule.user_id, rule.group_id, rule.audience)
    return (rule.name, *owner, rule.resource_type, rule.resource_name, rule.action, rule.is_disabled, rule.source)


def _rule(row: sqlite3.Row) -> Rule:
    audience = row["audience"]
    return Rule(
        id=row["id"],
        name=row["name"],
        resource_type=row["resource_type"],
        resource_name=row["resource_name"],
        action=row["action"],
        user_id=row["user_id"],
        group_id=row["group_id"],
        audience=Audience(audience) if audience else None,
        is_disabled=bool(row["is_disabled"]),
        source=row["source"],
    )


def _owned(row: sqlite3.Row) -> OwnedRule:
    return OwnedRule(_rule(row), row["owner"])
