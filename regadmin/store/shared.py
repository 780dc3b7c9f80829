"""What one process found out and all of them show: by a name, as JSON, with its time."""

import json
from typing import Any

from regadmin.messages import packed, unpacked
from regadmin.store.database import Database


class SharedFindings:
    def __init__(self, database: Database):
        self._database = database

    def keep(self, name: str, value: Any) -> None:
        """`value` is made of lists, dicts, plain values and Messages, which can be said in any language later."""
        self._database.execute(
            """
            INSERT INTO findings (name, at, value) VALUES (?, ?, ?)
            ON CONFLICT (name) DO UPDATE SET at = excluded.at, value = excluded.value
            """,
            (name, self._database.now(), json.dumps(packed(value))),
        )

    def find(self, name: str) -> tuple[int, Any] | None:
        """When it was found, and what."""
        row = self._database.one("SELECT at, value FROM findings WHERE name = ?", (name,))
        return (row["at"], unpacked(json.loads(row["value"]))) if row else None
