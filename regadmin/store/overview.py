"""How much of everything there is, and which repositories take the room."""

from __future__ import annotations

import json

from regadmin.entities import Counts, RepositoryStorage, Storage
from regadmin.store.database import Database

_CONTENT = """
WITH content AS MATERIALIZED (
  SELECT DISTINCT m.repository_id, b.blob_id FROM manifest_blobs b JOIN manifests m ON m.id = b.manifest_id)
"""
_AMONG = "SELECT blob_id FROM content WHERE repository_id IN (SELECT value FROM json_each(:largest))"
_NOT_AMONG = "SELECT blob_id FROM content WHERE repository_id NOT IN (SELECT value FROM json_each(:largest))"


class OverviewStore:
    def __init__(self, database: Database):
        self._database = database

    def counts(self) -> Counts:
        row = self._database.one(
            """
            SELECT
              (SELECT count(*) FROM repositories) AS repositories,
              (SELECT COALESCE(sum(tag_count), 0) FROM repositories) AS tags,
              (SELECT count(*) FROM manifests) AS manifests,
              (SELECT count(*) FROM users) AS users,
              (SELECT count(*) FROM groups) AS groups,
              (SELECT count(*) FROM rules) AS rules
            """
        )
        return Counts(**dict(row))

    def storage(self, largest: int) -> Storage:
        """What is stored, with that many of the largest repositories. Reads all that is known of the content."""
        rows = self._database.all(
            _CONTENT
            + """
            , users AS (SELECT blob_id, count(*) AS number FROM content GROUP BY blob_id)
            SELECT r.id, r.name, r.size AS sum, sum(b.size) AS stored,
              sum(CASE WHEN users.number > 1 THEN b.size ELSE 0 END) AS shared
            FROM content c JOIN users ON users.blob_id = c.blob_id JOIN blobs b ON b.id = c.blob_id
            JOIN repositories r ON r.id = c.repository_id
            GROUP BY r.id ORDER BY stored DESC, r.name LIMIT ?
            """,
            (largest,),
        )
        totals = self._database.one(
            _CONTENT
            + f"""
            SELECT
              (SELECT count(*) FROM repositories) - json_array_length(:largest) AS others,
              (SELECT COALESCE(sum(size), 0) FROM repositories) AS sum,
              (SELECT COALESCE(sum(size), 0) FROM repositories
               WHERE id NOT IN (SELECT value FROM json_each(:largest))) AS others_sum,
              (SELECT COALESCE(sum(size), 0) FROM blobs WHERE id IN (SELECT blob_id FROM content)) AS stored,
              (SELECT COALESCE(sum(size), 0) FROM blobs WHERE id IN ({_NOT_AMONG})) AS others_stored,
              (SELECT COALESCE(sum(size), 0) FROM blobs WHERE id IN ({_NOT_AMONG})
               AND id IN ({_AMONG})) AS others_shared,
              (SELECT COALESCE(sum(size), 0) FROM blobs WHERE id IN (
                 SELECT blob_id FROM content GROUP BY blob_id HAVING count(*) > 1)) AS shared
            """,
            {"largest": json.dumps([row["id"] for row in rows])},
        )
        return Storage(
            totals["stored"],
            totals["shared"],
            totals["sum"],
            tuple(RepositoryStorage(row["name"], row["stored"], row["shared"], row["sum"]) for row in rows),
            totals["others"],
            RepositoryStorage("", totals["others_stored"], totals["others_shared"], totals["others_sum"]),
        )
