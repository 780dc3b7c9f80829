"""Sessions of signed-in browsers and scripts."""

from regadmin.entities import Session
from regadmin.store.database import Database


class SessionStore:
    def __init__(self, database: Database):
        self._database = database

    def create(self, session: Session, address: str, user_agent: str) -> None:
        self._database.execute(
            "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?)",
            (session.id, session.user_id, session.created_at, session.expires_at, address, user_agent),
        )

    def find(self, session_id: str) -> Session | None:
        """The session, unless its time is over."""
        row = self._database.one(
            "SELECT id, user_id, created_at, expires_at FROM sessions WHERE id = ? AND expires_at > ?",
            (session_id, self._database.now()),
        )
        return Session(*row) if row else None

    def delete(self, session_id: str) -> None:
        self._database.execute("DELETE FROM sessions WHERE id = ?", (session_id,))

    def delete_of(self, user_id: int, keep: str = "") -> None:
        """End all sessions of the user but the one to keep."""
        self._database.execute("DELETE FROM sessions WHERE user_id = ? AND id <> ?", (user_id, keep))

    def delete_expired(self) -> None:
        self._database.execute("DELETE FROM sessions WHERE expires_at <= ?", (self._database.now(),))
