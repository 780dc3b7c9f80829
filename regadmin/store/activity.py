"""Who did what, when, and from where."""

import json

from regadmin.store.database import Database


class ActivityStore:
    def __init__(self, database: Database):
        self._database = database

    def add(
        self, event: str, actor: str, object: str, address: str = "", details: dict | None = None, at: int = 0
    ) -> None:
        """`at` is now unless given. Never hand it a secret."""
        self._database.execute(
            "INSERT INTO activity (at, actor, event, object, address, details) VALUES (?, ?, ?, ?, ?, ?)",
            (at or self._database.now(), actor, event, object, address, json.dumps(details or {})),
        )

    def latest_of(self, login: str, limit: int) -> list[dict]:
        """What the user did, and what others did to his account."""
        rows = self._database.all(
            """
            SELECT at, actor, event, object, address FROM activity
            WHERE id IN (SELECT id FROM (SELECT id FROM activity WHERE actor = :login ORDER BY id DESC LIMIT :limit))
               OR id IN (SELECT id FROM (SELECT id FROM activity WHERE object = :login AND event LIKE 'user %'
                                         ORDER BY id DESC LIMIT :limit))
            ORDER BY id DESC LIMIT :limit
            """,
            {"login": login, "limit": limit},
        )
        return [dict(row) for row in rows]

    def latest(self, limit: int) -> list[dict]:
        rows = self._database.all(
            "SELECT at, actor, event, object, address, details FROM activity ORDER BY id DESC LIMIT ?", (limit,)
        )
        return [dict(row) | {"details": json.loads(row["details"])} for row in rows]
