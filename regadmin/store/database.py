"""The SQLite file: one connection per thread, explicit transactions, numbered migrations."""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path

from regadmin.errors import Misconfigured
from regadmin.store import trigrams
from regadmin.store.natural import natural_key

CHECKED_BYTES = 200_000_000
"""The largest file that is checked at each start: about half a second."""

BUSY_TIMEOUT = 10_000
"""Milliseconds that a writer waits for another before it fails."""


class Database:
    """Hands out connections. Raises Misconfigured if the file cannot be opened, read or migrated.

    A reader neither makes the file nor changes it.
    """

    def __init__(self, path: str | Path, clock: Callable[[], float] = time.time, is_reader: bool = False):
        self.path = Path(path)
        self._clock = clock
        self._is_reader = is_reader
        self._local = threading.local()
        self._open()
        self._has_trigrams = trigrams.is_indexed(self.connection) and trigrams.can_index(self.connection)

    def now(self) -> int:
        return int(self._clock())

    def phrase(self, text: str | None) -> str | None:
        """What the trigram indexes find the text by; None if it must be looked for by reading."""
        return trigrams.phrase(text) if text and self._has_trigrams else None

    def execute(self, sql: str, parameters: dict | tuple = ()) -> sqlite3.Cursor:
        return self.connection.execute(sql, parameters)

    def one(self, sql: str, parameters: dict | tuple = ()) -> sqlite3.Row | None:
        return self.connection.execute(sql, parameters).fetchone()

    def all(self, sql: str, parameters: dict | tuple = ()) -> list[sqlite3.Row]:
        return self.connection.execute(sql, parameters).fetchall()

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's connection. A connection does not survive a fork, so the process counts too."""
        if getattr(self._local, "pid", None) != os.getpid():
            self._local.connection = self._connect()
            self._local.pid = os.getpid()
        return self._local.connection

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Inside another transaction of this thread it joins that one.

        IMMEDIATE, because a transaction that reads first and writes later fails at once when another has
        written in between, whatever the busy timeout is.
        """
        connection = self.connection
        if connection.in_transaction:
            yield
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """What is read inside is the store of one moment, whatever others write. Nothing is written inside."""
        connection = self.connection
        if connection.in_transaction:
            yield
            return
        connection.execute("BEGIN")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close this thread's connection."""
        connection = self._local.__dict__.pop("connection", None)
        self._local.pid = None
        if connection:
            connection.close()

    def _connect(self) -> sqlite3.Connection:
        # Not mode=ro: the last reader could not clean up after a server that was killed.
        address = f"{self.path.absolute().as_uri()}?mode={'rw' if self._is_reader else 'rwc'}"
        connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA query_only = {self._is_reader:d}")
        connection.create_function("natural_key", 1, natural_key, deterministic=True)
        return connection

    def _open(self) -> None:
        if not self.path.parent.is_dir():
            raise Misconfigured(f"store {self.path}: its directory does not exist; make it first")
        if self._is_reader and not self.path.is_file():
            raise Misconfigured(f"store {self.path}: does not exist; it is made when the server starts")
        try:
            if self._is_reader:
                self._check_version()
                return
            # Hashes and sessions are in it: nobody but the owner reads it, from its first byte on.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            self.execute("PRAGMA journal_mode = WAL")
            self._check_integrity()
            self._migrate()
        except sqlite3.DatabaseError as error:
            self.close()
            raise Misconfigured(f"store {self.path}: {error}; is it RegistryAdmin's file?") from None
        except OSError as error:
            raise Misconfigured(f"store {self.path}: {error.strerror}; the server must be able to write") from None

    def _check_integrity(self) -> None:
        if self.path.stat().st_size > CHECKED_BYTES:
            return
        verdict = self.one("PRAGMA quick_check(1)")[0]
        if verdict != "ok":
            raise Misconfigured(f"store {self.path}: is damaged ({verdict}); restore a backup: regadmin restore FILE")

    def _keep_aside(self, version: int) -> None:
        """Keep the file as it is before it is migrated, beside it, for those who must go back."""
        aside = self.path.with_name(f"{self.path.name}.version-{version}")
        draft = aside.with_name(f"{aside.name}.{os.getpid()}.part")
        os.close(os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600))
        with closing(sqlite3.connect(draft)) as copy:
            self.connection.backup(copy)
        os.replace(draft, aside)

    def _check_version(self) -> None:
        if self.one("PRAGMA user_version")[0] != len(_scripts()):
            raise Misconfigured(f"store {self.path}: not of this version of RegistryAdmin; start the server first")

    def _migrate(self) -> None:
        scripts = _scripts()
        if 0 < self.one("PRAGMA user_version")[0] < len(scripts):
            self._keep_aside(self.one("PRAGMA user_version")[0])
        with self.transaction():
            version = self.one("PRAGMA user_version")[0]
            if version > len(scripts):
                raise Misconfigured(f"store {self.path}: written by a newer version of RegistryAdmin")
            if not version and self.one("SELECT 1 FROM sqlite_master"):
                raise Misconfigured(f"store {self.path}: this SQLite file is not RegistryAdmin's")
            for script in scripts[version:]:
                self._run_script(script.read_text("utf-8"))
            self.execute(f"PRAGMA user_version = {len(scripts)}")
            trigrams.prepare(self.connection)

    def _run_script(self, text: str) -> None:
        statement = ""
        for line in text.splitlines(keepends=True):
            statement += line
            if sqlite3.complete_statement(statement):
                self.execute(statement)
                statement = ""


def _scripts() -> list:
    return sorted(p for p in files("regadmin.store.migrations").iterdir() if p.name.endswith(".sql"))


def like(text: str | None) -> str | None:
    """A LIKE pattern (ESCAPE '\\') for rows that contain the text; None for no condition."""
    if not text:
        return None
    # SQLite takes patterns of up to 50,000 bytes, and nothing that is searched holds so many letters.
    text = text[:10_000]
    for character in "\\%_":
        text = text.replace(character, "\\" + character)
    return f"%{text}%"
