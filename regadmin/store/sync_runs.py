"""Synchronisations: the running one, at most, and their history."""

import json
import sqlite3

from regadmin.entities import SyncRun
from regadmin.store.database import Database

_COLUMNS = """
SELECT id, trigger, state, started_at, finished_at, repositories_total, repositories_done, tags,
       added, updated, removed, errors
FROM sync_runs
"""
MAX_ERRORS = 200


class SyncRunStore:
    def __init__(self, database: Database):
        self._database = database

    def start(self, trigger: str, stale_after: int) -> int | None:
        """Begin a run and return its id; None if another runs.

        A run that gave no sign of life for `stale_after` seconds died with its process: it is interrupted.
        """
        now = self._database.now()
        with self._database.transaction():
            self._database.execute(
                """
                UPDATE sync_runs SET state = 'interrupted', finished_at = beat_at
                WHERE state = 'running' AND (beat_at < ? OR beat_at > ?)
                """,
                (now - stale_after, now + stale_after),
            )
            row = self._database.one(
                """
                INSERT INTO sync_runs (trigger, state, started_at, beat_at) VALUES (?, 'running', ?, ?)
                ON CONFLICT DO NOTHING RETURNING id
                """,
                (trigger, now, now),
            )
            return row["id"] if row else None

    def progress(self, run: SyncRun) -> None:
        """Keep the counters and give a sign of life."""
        self._database.execute(
            """
            UPDATE sync_runs SET beat_at = ?, repositories_total = ?, repositories_done = ?, tags = ?,
                   added = ?, updated = ?, removed = ?, errors = ? WHERE id = ?
            """,
            (self._database.now(), run.repositories_total, run.repositories_done, run.tags, run.added)
            + (run.updated, run.removed, json.dumps(run.errors[:MAX_ERRORS]), run.id),
        )

    def finish(self, run: SyncRun) -> None:
        with self._database.transaction():
            self.progress(run)
            self._database.execute(
                "UPDATE sync_runs SET state = ?, finished_at = ? WHERE id = ?",
                (run.state, self._database.now(), run.id),
            )

    def latest(self) -> SyncRun | None:
        row = self._database.one(_COLUMNS + "ORDER BY id DESC LIMIT 1")
        return _run(row) if row else None

    def has_complete(self) -> bool:
        """Whether a run has ever come to its end."""
        return self._database.one("SELECT 1 FROM sync_runs WHERE state = 'complete' LIMIT 1") is not None

    def find(self, run_id: int) -> SyncRun | None:
        row = self._database.one(_COLUMNS + "WHERE id = ?", (run_id,))
        return _run(row) if row else None


def _run(row: sqlite3.Row) -> SyncRun:
    return SyncRun(**dict(row) | {"errors": tuple(json.loads(row["errors"]))})
