"""Access tokens, of which only digests are kept."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from regadmin.entities import AccessToken, Reach
from regadmin.store.database import Database

_COLUMNS = "SELECT id, user_id, name, scope, created_at, expires_at FROM access_tokens"


class ListedToken(NamedTuple):
    """A token and its last use; None and '' if there was none."""

    token: AccessToken
    used_at: int | None
    used_from: str
    is_over: bool = False


class AccessTokenStore:
    def __init__(self, database: Database):
        self._database = database

    def create(self, token: AccessToken, digest: bytes) -> AccessToken:
        """Insert; id and time are given here."""
        row = self._database.one(
            """
            INSERT INTO access_tokens (user_id, name, digest, scope, created_at, expires_at)
            VALUES (?, ?, ?, ?, ?, ?) RETURNING id, user_id, name, scope, created_at, expires_at
            """,
            (token.user_id, token.name, digest, json.dumps(token.scope), self._database.now(), token.expires_at),
        )
        return _token(row)

    def find(self, token_id: int) -> AccessToken | None:
        row = self._database.one(f"{_COLUMNS} WHERE id = ?", (token_id,))
        return _token(row) if row else None

    def find_digest(self, digest: bytes) -> AccessToken | None:
        row = self._database.one(f"{_COLUMNS} WHERE digest = ?", (digest,))
        return _token(row) if row else None

    def list_of(self, user_id: int) -> list[ListedToken]:
        """The newest first."""
        rows = self._database.all(
            """
            SELECT t.id, t.user_id, t.name, t.scope, t.created_at, t.expires_at, u.used_at, u.address
            FROM access_tokens t LEFT JOIN access_token_uses u ON u.token_id = t.id
            WHERE t.user_id = ? ORDER BY t.id DESC
            """,
            (user_id,),
        )
        now, tokens = self._database.now(), map(_token, rows)
        return [
            ListedToken(token, row["used_at"], row["address"] or "", token.is_over(now))
            for token, row in zip(tokens, rows, strict=True)
        ]

    def count_of(self, user_id: int) -> int:
        return self._database.one("SELECT count(*) FROM access_tokens WHERE user_id = ?", (user_id,))[0]

    def count_good(self) -> int:
        """Those that open something now."""
        return self._database.one(
            """
            SELECT count(*) FROM access_tokens t JOIN users u ON u.id = t.user_id
            WHERE NOT u.is_blocked AND (t.expires_at IS NULL OR t.expires_at > ?)
            """,
            (self._database.now(),),
        )[0]

    def delete(self, token_id: int) -> None:
        self._database.execute("DELETE FROM access_tokens WHERE id = ?", (token_id,))

    def note_uses(self, uses: Iterable[tuple[int, str]]) -> None:
        """Keep that these tokens are used now, each from its address."""
        now = self._database.now()
        with self._database.transaction():
            self._database.connection.executemany(
                """
                INSERT INTO access_token_uses (token_id, used_at, address)
                SELECT id, :now, :address FROM access_tokens WHERE id = :id
                ON CONFLICT (token_id) DO UPDATE SET used_at = excluded.used_at, address = excluded.address
                """,
                [{"id": token_id, "now": now, "address": address} for token_id, address in uses],
            )


def _token(row: sqlite3.Row) -> AccessToken:
    return AccessToken(
        id=row["id"],
        user_id=row["user_id"],
        name=row["name"],
        scope=tuple(Reach(*each) for each in json.loads(row["scope"])),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )
