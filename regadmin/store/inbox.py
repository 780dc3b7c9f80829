"""Notifications that arrived, in order, until they are applied and for a while after."""

import threading
from collections import deque
from typing import NamedTuple

from regadmin.store.database import Database


class Notification(NamedTuple):
    id: int
    body: bytes
    attempts: int
    received_at: int


class _Envelope:
    """What arrived together, and what became of it."""

    def __init__(self, events: list[tuple[str, bytes]], posted_by: str):
        self.events = events
        self.posted_by = posted_by
        self.added = 0
        self.error: Exception | None = None
        self.is_done = False


class InboxStore:
    def __init__(self, database: Database):
        self._database = database
        self._arrived: deque[_Envelope] = deque()
        self._committing = threading.Lock()

    def add(self, events: list[tuple[str, bytes]], posted_by: str) -> int:
        """Keep (event id, body) pairs, all or none; duplicates are passed over. Returns how many were new.

        What arrives while a transaction is written to the disk shares the next one: whoever comes first writes for
        all, and each returns once its own envelope is on the disk.
        """
        envelope = _Envelope(events, posted_by)
        self._arrived.append(envelope)
        with self._committing:
            if not envelope.is_done:
                self._keep_arrived()
        if envelope.error:
            raise envelope.error
        return envelope.added

    def _keep_arrived(self) -> None:
        arrived = [self._arrived.popleft() for _ in range(len(self._arrived))]
        try:
            with self._database.transaction():
                for envelope in arrived:
                    envelope.added = self._insert(envelope)
        except BaseException as error:
            # None of them is kept, and whoever sent them sends them again.
            for envelope in arrived:
                envelope.error = error
        for envelope in arrived:
            envelope.is_done = True

    def _insert(self, envelope: _Envelope) -> int:
        return sum(
            self._database.execute(
                """
                INSERT INTO inbox (event_id, body, posted_by, received_at) VALUES (?, ?, ?, ?)
                ON CONFLICT (event_id) DO NOTHING
                """,
                (event_id, body, envelope.posted_by, self._database.now()),
            ).rowcount
            for event_id, body in envelope.events
        )

    def waiting(self, limit: int) -> list[Notification]:
        """The oldest that are not applied yet."""
        rows = self._database.all(
            "SELECT id, body, attempts, received_at FROM inbox WHERE applied_at IS NULL ORDER BY id LIMIT ?", (limit,)
        )
        return [Notification(*row) for row in rows]

    def latest_arrival(self) -> int | None:
        """When the last one arrived; what was forgotten since is known by the pushes and pulls that it told of."""
        row = self._database.one(
            """
            SELECT max(at) AS at FROM (
              SELECT received_at AS at FROM (SELECT received_at FROM inbox ORDER BY id DESC LIMIT 1)
              UNION ALL SELECT max(at) FROM activity WHERE event = 'push'
              UNION ALL SELECT max(at) FROM activity WHERE event = 'pull')
            """
        )
        return row["at"]

    def count_waiting(self) -> int:
        return self._database.one("SELECT count(*) FROM inbox WHERE applied_at IS NULL")[0]

    def oldest_waiting(self) -> int | None:
        """When the first of those that are not applied arrived."""
        row = self._database.one("SELECT received_at FROM inbox WHERE applied_at IS NULL ORDER BY id LIMIT 1")
        return row["received_at"] if row else None

    def count_set_aside(self) -> int:
        """Those that could not be applied, as long as they are kept."""
        return self._database.one(
            "SELECT count(*) FROM inbox WHERE applied_at IS NOT NULL AND body <> x'' AND outcome <> 'nothing to do'"
        )[0]

    def mark_applied(self, notification_id: int, outcome: str) -> bool:
        """The body is dropped once it is of no more use; `outcome` says what became of it.

        False: another process was first, so what goes with it in the same transaction has been done.
        """
        marked = self._database.execute(
            "UPDATE inbox SET applied_at = ?, outcome = ?, body = x'' WHERE id = ? AND applied_at IS NULL",
            (self._database.now(), outcome, notification_id),
        )
        return marked.rowcount == 1

    def mark_kept(self, notification_id: int, outcome: str) -> None:
        """Done, but the body stays for whoever wants to know what it was."""
        self._database.execute(
            "UPDATE inbox SET applied_at = ?, outcome = ? WHERE id = ? AND applied_at IS NULL",
            (self._database.now(), outcome, notification_id),
        )

    def mark_failed(self, notification_id: int, outcome: str) -> None:
        self._database.execute(
            "UPDATE inbox SET attempts = attempts + 1, outcome = ? WHERE id = ? AND applied_at IS NULL",
            (outcome, notification_id),
        )

    def forget(self, before: int) -> None:
        """Remove what was applied before that time."""
        self._database.execute("DELETE FROM inbox WHERE applied_at < ?", (before,))
