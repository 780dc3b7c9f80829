"""Synchronisations: the running one, at most, and their history."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3

from regadmin.entities import Page, SyncRun
from regadmin.messages import packed, unpacked
from regadmin.store.database import Database
from regadmin.store.listing import Listing, fetch

_COLUMNS = """
SELECT id, trigger, state, started_at, finished_at, repositories_total, repositories_done, tags,
       added, updated, removed, errors
"""
_FROM = "FROM sync_runs "
MAX_ERRORS = 200


class SyncRunStore:
    """A run holds a lock on a file beside the store, which the system takes from a process that dies.

    So a run that is marked as running while nobody holds the lock is dead. Containers that share the volume share
    the lock, too.
    """

    def __init__(self, database: Database):
        self._database = database
        self._locks: dict[int, int] = {}
        """By the run: while one is ending, the next may have begun."""

    def start(self, trigger: str) -> int | None:
        """Begin a run and return its id; None if another runs, in whichever process."""
        lock = self._take_lock()
        if lock is None:
            return None
        now = self._database.now()
        try:
            with self._database.transaction():
                self._interrupt_dead()
                row = self._database.one(
                    """
                    INSERT INTO sync_runs (trigger, state, started_at, beat_at) VALUES (?, 'running', ?, ?)
                    RETURNING id
                    """,
                    (trigger, now, now),
                )
        except BaseException:
            os.close(lock)
            raise
        self._locks[row["id"]] = lock
        return row["id"]

    def release(self, run_id: int) -> None:
        """Let others start a run, if this one is ours. If it is still marked as running, it is taken for dead."""
        lock = self._locks.pop(run_id, None)
        if lock is not None:
            os.close(lock)

    def give_lock_away(self, run_id: int) -> int:
        """The open file that locks this run, for another process, which goes on with it. The caller closes it here."""
        return self._locks.pop(run_id)

    def take_lock_over(self, run_id: int, lock: int) -> None:
        """The run that this open file locks is ours now."""
        self._locks[run_id] = lock

    def interrupt_dead(self) -> None:
        """Say of a run whose process died that it came to no end."""
        lock = self._take_lock()
        if lock is not None:
            try:
                self._interrupt_dead()
            finally:
                os.close(lock)

    def progress(self, run: SyncRun) -> None:
        """Keep the counters and give a sign of life."""
        self._database.execute(
            """
            UPDATE sync_runs SET beat_at = ?, repositories_total = ?, repositories_done = ?, tags = ?,
                   added = ?, updated = ?, removed = ?, errors = ? WHERE id = ?
            """,
            (self._database.now(), run.repositories_total, run.repositories_done, run.tags, run.added)
            + (run.updated, run.removed, json.dumps(packed(run.errors[:MAX_ERRORS])), run.id),
        )

    def finish(self, run: SyncRun) -> None:
        """Keep the result; whoever sees that it is over may begin the next one."""
        self.release(run.id)
        with self._database.transaction():
            self.progress(run)
            self._database.execute(
                "UPDATE sync_runs SET state = ?, finished_at = ? WHERE id = ?",
                (run.state, self._database.now(), run.id),
            )

    def interrupt(self, run_id: int) -> None:
        """Say of a run whose process ends that it came to no end, unless it did. The next one may begin."""
        self._database.execute(
            "UPDATE sync_runs SET state = 'interrupted', finished_at = ? WHERE id = ? AND state = 'running'",
            (self._database.now(), run_id),
        )
        self.release(run_id)

    def latest(self) -> SyncRun | None:
        row = self._database.one(_COLUMNS + _FROM + "ORDER BY id DESC LIMIT 1")
        return _run(row) if row else None

    def latest_ended(self) -> SyncRun | None:
        row = self._database.one(_COLUMNS + _FROM + "WHERE state <> 'running' ORDER BY id DESC LIMIT 1")
        return _run(row) if row else None

    def latest_completion(self) -> int | None:
        """When the last run ended that came to its end."""
        row = self._database.one("SELECT finished_at FROM sync_runs WHERE state = 'complete' ORDER BY id DESC LIMIT 1")
        return row["finished_at"] if row else None

    def list(self, listing: Listing) -> Page:
        return fetch(self._database, _COLUMNS, _FROM, {"id": "id"}, listing, {}, _run)

    def has_complete(self) -> bool:
        """Whether a run has ever come to its end."""
        return self._database.one("SELECT 1 FROM sync_runs WHERE state = 'complete' LIMIT 1") is not None

    def find(self, run_id: int) -> SyncRun | None:
        row = self._database.one(_COLUMNS + _FROM + "WHERE id = ?", (run_id,))
        return _run(row) if row else None

    def _interrupt_dead(self) -> None:
        self._database.execute(
            "UPDATE sync_runs SET state = 'interrupted', finished_at = beat_at WHERE state = 'running'"
        )

    def _take_lock(self) -> int | None:
        """An open file whose lock is ours until it is closed; None if another run has it."""
        lock = os.open(f"{self._database.path}.sync", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return None
        return lock


def _run(row: sqlite3.Row) -> SyncRun:
    return SyncRun(**dict(row) | {"errors": tuple(unpacked(json.loads(row["errors"])))})
