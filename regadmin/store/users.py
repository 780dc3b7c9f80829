"""Users, their password hashes and their memberships."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from regadmin.entities import Group, Page, Role, User
from regadmin.store.database import Database, like
from regadmin.store.listing import Listing, fetch

_COLUMNS = """
SELECT u.id, u.login, u.name, u.role, u.is_blocked, u.must_change_password, u.description, u.created_at,
       u.language, u.time_zone, u.source, u.is_robot,
       (SELECT json_group_array(json_array(id, name, description, source)) FROM (
          SELECT g.* FROM memberships m JOIN groups g ON g.id = m.group_id
          WHERE m.user_id = u.id ORDER BY m.position)) AS groups
"""
_WHERE = r"""
FROM users u
WHERE (:q IS NULL OR u.login LIKE :q ESCAPE '\' OR u.name LIKE :q ESCAPE '\' OR u.description LIKE :q ESCAPE '\')
  AND (:ids IS NULL OR u.id IN (SELECT value FROM json_each(:ids)))
  AND (:role IS NULL OR u.role = :role)
  AND (:login IS NULL OR u.login = :login)
  AND (:name IS NULL OR u.name = :name)
  AND (:is_blocked IS NULL OR u.is_blocked = :is_blocked)
  AND (:is_robot IS NULL OR u.is_robot = :is_robot)
  AND (:group_id IS NULL OR u.id IN (SELECT user_id FROM memberships WHERE group_id = :group_id))
"""
_ORDERS = {
    "id": "u.id",
    "login": "u.login",
    "name": "u.name COLLATE NOCASE",
    "role": "u.role",
    "blocked": "u.is_blocked",
    "description": "u.description COLLATE NOCASE",
}
FILTERS = ("role", "login", "name", "is_blocked", "is_robot", "group_id")
_SUMMARY_COLUMNS = (
    _COLUMNS.rstrip()
    + """,
       (SELECT count(*) FROM rules r WHERE r.user_id = u.id) AS rule_count,
       (SELECT count(*) FROM sessions s WHERE s.user_id = u.id AND s.expires_at > :now) AS session_count,
       (SELECT signed_in_at FROM user_times t WHERE t.user_id = u.id) AS signed_in_at,
       (SELECT used_at FROM user_times t WHERE t.user_id = u.id) AS used_at
"""
)
_SUMMARY_ORDERS = _ORDERS | {name: name for name in ("rule_count", "signed_in_at", "used_at")}


class UserSummary(NamedTuple):
    """A user with what lists say of him. The times are None for what has not happened yet."""

    user: User
    rule_count: int
    """His own rules; those of his groups do not count."""
    session_count: int
    signed_in_at: int | None
    used_at: int | None
    """When he last got a token for the registry."""


class UserStore:
    def __init__(self, database: Database):
        self._database = database

    def list(self, listing: Listing) -> Page:
        filters = listing.filters
        parameters = {name: filters.get(name) for name in FILTERS}
        parameters |= {"q": like(filters.get("q")), "ids": _ids(filters.get("ids"))}
        return fetch(self._database, _COLUMNS, _WHERE, _ORDERS, listing, parameters, _user)

    def list_summaries(self, listing: Listing) -> Page:
        parameters = {name: listing.filters.get(name) for name in FILTERS}
        parameters |= {"q": like(listing.filters.get("q")), "ids": None, "now": self._database.now()}
        return fetch(self._database, _SUMMARY_COLUMNS, _WHERE, _SUMMARY_ORDERS, listing, parameters, _summary)

    def find_summary(self, user_id: int) -> UserSummary | None:
        row = self._database.one(
            _SUMMARY_COLUMNS + "FROM users u WHERE u.id = :id", {"id": user_id, "now": self._database.now()}
        )
        return _summary(row) if row else None

    def find(self, user_id: int) -> User | None:
        row = self._database.one(_COLUMNS + "FROM users u WHERE u.id = ?", (user_id,))
        return _user(row) if row else None

    def find_login(self, login: str) -> tuple[User, str] | None:
        """The user with exactly this login, and his password's hash, to be verified at once."""
        row = self._database.one(
            _COLUMNS + ", u.password_hash FROM users u WHERE u.login = ? AND u.login = ? COLLATE BINARY",
            (login, login),
        )
        return (_user(row), row["password_hash"]) if row else None

    def has_login(self, login: str) -> bool:
        """Whether somebody has this login, or one that differs from it in upper and lower case only."""
        return self._database.one("SELECT 1 FROM users WHERE login = ?", (login,)) is not None

    def list_hashes(self) -> dict[str, str]:
        """The password hashes by login, of those who may sign in to the registry."""
        rows = self._database.all(
            """
            SELECT login, password_hash FROM users
            WHERE NOT is_blocked AND NOT must_change_password AND NOT is_robot
            """
        )
        return dict(map(tuple, rows))

    def list_with_hashes(self) -> list[tuple[User, str]]:
        """Everybody with his password's hash, in the order of logins, for a copy that is kept as safe as the store."""
        rows = self._database.all(_COLUMNS + ", u.password_hash FROM users u ORDER BY u.login")
        return [(_user(row), row["password_hash"]) for row in rows]

    def create(self, user: User, password_hash: str) -> User:
        """Insert; the id is given here. Raises sqlite3.IntegrityError if the login is taken."""
        with self._database.transaction():
            row = self._database.one(
                """
                INSERT INTO users
                  (login, name, password_hash, role, is_blocked, must_change_password, description, source, is_robot,
                   created_at)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id
                """,
                (user.login, user.name, password_hash, user.role, user.is_blocked, user.must_change_password)
                + (user.description, user.source, user.is_robot, self._database.now()),
            )
            self._set_groups(row["id"], user.groups)
            return self.find(row["id"])

    def update(self, user: User) -> User:
        with self._database.transaction():
            self._database.execute(
                """
                UPDATE users SET login = ?, name = ?, role = ?, is_blocked = ?, description = ?, source = ? WHERE id = ?
                """,
                (user.login, user.name, user.role, user.is_blocked, user.description, user.source, user.id),
            )
            self._set_groups(user.id, user.groups)
            return self.find(user.id)

    def set_password(self, user_id: int, password_hash: str) -> None:
        self._database.execute(
            "UPDATE users SET password_hash = ?, must_change_password = 0 WHERE id = ?", (password_hash, user_id)
        )

    def set_preferences(self, user_id: int, language: str, time_zone: str) -> None:
        self._database.execute(
            "UPDATE users SET language = ?, time_zone = ? WHERE id = ?", (language, time_zone, user_id)
        )

    def delete(self, user_id: int) -> None:
        self._database.execute("DELETE FROM users WHERE id = ?", (user_id,))

    def note_sign_in(self, user_id: int) -> None:
        self._database.execute(
            """
            INSERT INTO user_times (user_id, signed_in_at) SELECT id, :now FROM users WHERE id = :id
            ON CONFLICT (user_id) DO UPDATE SET signed_in_at = excluded.signed_in_at
            """,
            {"id": user_id, "now": self._database.now()},
        )

    def note_uses(self, user_ids: Iterable[int]) -> None:
        now = self._database.now()
        with self._database.transaction():
            self._database.connection.executemany(
                """
                INSERT INTO user_times (user_id, used_at) SELECT id, :now FROM users WHERE id = :id
                ON CONFLICT (user_id) DO UPDATE SET used_at = excluded.used_at
                """,
                [{"id": user_id, "now": now} for user_id in user_ids],
            )

    def count(self) -> int:
        return self._database.one("SELECT count(*) FROM users")[0]

    def find_with_default_password(self) -> str:
        """The login of somebody who must still choose a password, or ''."""
        row = self._database.one("SELECT login FROM users WHERE must_change_password AND NOT is_blocked LIMIT 1")
        return row["login"] if row else ""

    def count_active_admins(self) -> int:
        return self._database.one("SELECT count(*) FROM users WHERE role = 'admin' AND NOT is_blocked")[0]

    def count_active_admins_made_here(self) -> int:
        """Those about whom no file decides."""
        return self._database.one(
            "SELECT count(*) FROM users WHERE role = 'admin' AND NOT is_blocked AND source = ''"
        )[0]

    def forget_sources(self) -> None:
        self._database.execute("UPDATE users SET source = '' WHERE source <> ''")

    def _set_groups(self, user_id: int, groups: tuple[Group, ...]) -> None:
        self._database.execute("DELETE FROM memberships WHERE user_id = ?", (user_id,))
        for position, group in enumerate(groups):
            self._database.execute("INSERT INTO memberships VALUES (?, ?, ?)", (user_id, group.id, position))


def _user(row: sqlite3.Row) -> User:
    return User(
        id=row["id"],
        login=row["login"],
        name=row["name"],
        role=Role(row["role"]),
        groups=tuple(Group(*group) for group in json.loads(row["groups"])),
        is_blocked=bool(row["is_blocked"]),
        must_change_password=bool(row["must_change_password"]),
        description=row["description"],
        created_at=row["created_at"],
        language=row["language"],
        time_zone=row["time_zone"],
        source=row["source"],
        is_robot=bool(row["is_robot"]),
    )


def _summary(row: sqlite3.Row) -> UserSummary:
    return UserSummary(
        _user(row), row["rule_count"], row["session_count"], row["signed_in_at"], row["used_at"]
    )


def _ids(ids: list[int] | None) -> str | None:
    return None if ids is None else json.dumps(ids)
