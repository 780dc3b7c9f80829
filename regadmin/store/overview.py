"""How much of everything there is, and which repositories take the room."""

from __future__ import annotations

import json

from regadmin.entities import Counts, RepositoryStorage, Storage
from regadmin.store.database import Database


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

    def is_small(self, most: int) -> bool:
        """Whether there are not more blobs than that."""
        return self._database.one("SELECT 1 FROM blobs LIMIT 1 OFFSET ?", (most,)) is None

    def storage(self, largest: int) -> Storage:
        """What is stored, with that many of the largest repositories, of which it reads the content."""
        rows = self._database.all(
            """
            SELECT id, name, size AS sum, stored, shared FROM repositories WHERE stored > 0
            ORDER BY stored DESC, name LIMIT ?
            """,
            (largest,),
        )
        totals = self._database.one(
            """
            WITH largest (id) AS (SELECT value FROM json_each(:largest)),
            theirs AS (
              SELECT b.size, b.holders, count(*) AS among
              FROM largest CROSS JOIN holdings h ON h.repository_id = largest.id
              CROSS JOIN blobs b ON b.id = h.blob_id GROUP BY b.id),
            known AS (
              SELECT COALESCE(sum(size), 0) AS stored,
                COALESCE(sum(size) FILTER (WHERE holders > among), 0) AS also_elsewhere FROM theirs),
            whole AS (
              SELECT COALESCE(sum(size), 0) AS stored, COALESCE(sum(size) FILTER (WHERE holders > 1), 0) AS shared
              FROM blobs WHERE holders > 0)
            SELECT (SELECT count(*) FROM repositories) - json_array_length(:largest) AS others,
              (SELECT COALESCE(sum(size), 0) FROM repositories) AS sum,
              (SELECT COALESCE(sum(size), 0) FROM repositories
               WHERE id NOT IN (SELECT id FROM largest)) AS others_sum,
              whole.stored, whole.shared, whole.stored - known.stored + known.also_elsewhere AS others_stored,
              known.also_elsewhere AS others_shared
            FROM whole, known
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
