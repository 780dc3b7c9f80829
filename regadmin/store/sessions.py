"""Sessions of signed-in browsers and scripts."""

from typing import NamedTuple

from regadmin.entities import Session
from regadmin.store.database import Database


class OpenSession(NamedTuple):
    """A session with what its start said of the other side. `seen_at` is some minutes old."""

    session: Session
    address: str
    user_agent: str
    seen_at: int


class SessionStore:
    def __init__(self, database: Database):
        self._database = database

    def create(self, session: Session, address: str, user_agent: str) -> None:
        self._database.execute(
            """
            INSERT INTO sessions (id, user_id, created_at, expires_at, address, user_agent, seen_at)
            VALUES (?, ?, ?, ?, ?, ?, ?)
            """,
            (session.id, session.user_id, session.created_at, session.expires_at, address, user_agent)
            + (session.created_at,),
        )

    def find(self, session_id: str) -> Session | None:
        """The session, unless its time is over."""
        row = self._database.one(
            "SELECT id, user_id, created_at, expires_at FROM sessions WHERE id = ? AND expires_at > ?",
            (session_id, self._database.now()),
        )
        return Session(*row) if row else None

    def list_of(self, user_id: int, limit: int) -> list[OpenSession]:
        """Those whose time is not over, the one that was used last first."""
        rows = self._database.all(
            """
            SELECT id, user_id, created_at, expires_at, address, user_agent, max(seen_at, created_at) AS seen_at
            FROM sessions WHERE user_id = ? AND expires_at > ? ORDER BY 7 DESC, id LIMIT ?
            """,
            (user_id, self._database.now(), limit),
        )
        return [OpenSession(Session(*row[:4]), row["address"], row["user_agent"], row["seen_at"]) for row in rows]

    def note_use(self, session_id: str, interval: int) -> None:
        """Keep that it is used now, unless that was kept less than `interval` seconds ago."""
        now = self._database.now()
        self._database.execute(
            "UPDATE sessions SET seen_at = ? WHERE id = ? AND seen_at <= ?", (now, session_id, now - interval)
        )

    def delete(self, session_id: str) -> None:
        self._database.execute("DELETE FROM sessions WHERE id = ?", (session_id,))

    def delete_of(self, user_id: int, keep: str = "") -> None:
        """End all sessions of the user but the one to keep."""
        self._database.execute("DELETE FROM sessions WHERE user_id = ? AND id <> ?", (user_id, keep))

    def delete_expired(self) -> None:
        self._database.execute("DELETE FROM sessions WHERE expires_at <= ?", (self._database.now(),))
