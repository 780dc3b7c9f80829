"""Copies of the store: whole, consistent, and made while a server works on it (SQLite's online backup)."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from regadmin.errors import Error
from regadmin.store.database import BUSY_TIMEOUT, Database


def back_up(path: Path, target: Path) -> None:
    """Copy the store to `target`, which only the owner may read; what was there is replaced at the end, or not at all.

    Raises Error.
    """
    if not path.is_file():
        raise Error(f"there is no store {path}")
    if target.with_name(f"{target.name}-wal").exists():
        # What was written there last would be taken for a part of the copy.
        raise Error(f"{target} is a store that is in use, or was when its server died; choose another name")
    draft = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            _copy(path, draft)
            _sync(draft)
            os.replace(draft, target)
        finally:
            draft.unlink(missing_ok=True)
    except (OSError, sqlite3.Error) as error:
        raise Error(f"{target} cannot be written: {getattr(error, 'strerror', None) or error}") from None


def restore(path: Path, source: Path) -> Path | None:
    """Put the content of a backup into the store, in one transaction: a server that works on it goes on with that.

    Returns where the store as it was is kept, None if there was none. A backup of an older version is brought up
    to date first. Raises Error.
    """
    fresh = path.with_name(f"{path.name}.{os.getpid()}.restore")
    kept = path.with_name(f"{path.name}.before-restore-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")
    _check(source)
    back_up(source, fresh)
    try:
        upgraded = Database(fresh)
        if path.is_file():
            back_up(path, kept)
            _outrun(upgraded, path)
        upgraded.close()
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        _copy(fresh, path)
    except (OSError, sqlite3.Error) as error:
        raise Error(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}") from None
    finally:
        for left in path.parent.glob(f"{fresh.name}*"):
            left.unlink()
    return kept if kept.exists() else None


def _check(source: Path) -> None:
    try:
        with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            verdict = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            is_ours = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'rules'").fetchone()
    except sqlite3.Error as error:
        raise Error(f"{source} is no backup that can be read: {error}") from None
    if verdict != "ok" or not is_ours:
        raise Error(f"{source} is no backup of a store{'' if is_ours else ' of RegistryAdmin'}: {verdict}")


def _outrun(upgraded: Database, path: Path) -> None:
    """Answers that are remembered are keyed by the revision: that of the restored store must be a new one."""
    with closing(Database(path)) as present:
        numbers = tuple(present.one("SELECT number, arrivals, departures FROM revision"))
    upgraded.execute(
        """
        UPDATE revision SET number = max(number, ?) + 1, arrivals = max(arrivals, ?) + 1,
          departures = max(departures, ?) + 1
        """,
        numbers,
    )


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as origin, closing(sqlite3.connect(target)) as copy:
        copy.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
        origin.backup(copy)


def _sync(path: Path) -> None:
    for each, flags in ((path, os.O_RDWR), (path.parent, os.O_RDONLY)):
        descriptor = os.open(each, flags)
        os.fsync(descriptor)
        os.close(descriptor)
