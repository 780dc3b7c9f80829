"""Backups and what they are for."""

import os
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest

from regadmin.entities import Role, User
from regadmin.errors import Error, Misconfigured
from regadmin.store import Store
from regadmin.store.backup import back_up, restore
from tests.store.test_migrations import old_file


@pytest.fixture
def path(store: Store) -> Path:
    return store.database.path


@pytest.fixture
def target(tmp_path) -> Path:
    (tmp_path / "backups").mkdir()
    return tmp_path / "backups" / "monday.db"


def add(store: Store, login: str) -> None:
    store.users.create(User(0, login, login, Role.USER), "hash")


def logins(path: Path) -> list[str]:
    with closing(Store(path)) as store:
        return [row["login"] for row in store.database.all("SELECT login FROM users ORDER BY id")]


def test_a_backup_holds_all_and_only_the_owner_may_read_it(store, path, target):
    add(store, "alice")
    back_up(path, target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert logins(target) == ["alice"]


def test_it_is_consistent_while_a_server_writes(store, path, target):
    ended = threading.Event()

    def write() -> None:
        number = 0
        while not ended.is_set():
            with store.transaction():
                add(store, f"a{number}")
                add(store, f"b{number}")
            number += 1
        store.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            back_up(path, target)
            copied = logins(target)
            assert len(copied) % 2 == 0
    finally:
        ended.set()
        writer.join()


def test_what_cannot_be_written_leaves_the_old_backup(store, path, target):
    back_up(path, target)
    before = target.read_bytes()
    add(store, "alice")
    with pytest.raises(Error, match="no/such"):
        back_up(path, target.parent / "no" / "such" / "file")
    with pytest.raises(Error, match="there is no store"):
        back_up(path.with_name("missing.db"), target)
    assert target.read_bytes() == before
    assert os.listdir(target.parent) == [target.name]


def test_a_store_in_use_is_no_place_for_a_backup(store, path, target):
    with closing(Store(target)) as other:
        add(other, "bob")
        with pytest.raises(Error, match="in use"):
            back_up(path, target)
    assert logins(target) == ["bob"]


def test_restoring_brings_back_what_was_and_keeps_what_is(store, path, target):
    add(store, "alice")
    back_up(path, target)
    add(store, "bob")
    kept = restore(path, target)
    assert logins(path) == ["alice"]
    assert logins(kept) == ["alice", "bob"]


def test_a_server_that_works_on_the_store_goes_on_with_what_was_restored(store, path, target):
    back_up(path, target)
    add(store, "alice")
    before = store.revision()
    restore(path, target)
    assert store.users.find_login("alice") is None
    assert store.revision() > before
    add(store, "carol")
    assert logins(path) == ["carol"]


def test_a_backup_is_restored_where_no_store_is(store, path, target, tmp_path):
    add(store, "alice")
    back_up(path, target)
    assert restore(tmp_path / "new.db", target) is None
    assert logins(tmp_path / "new.db") == ["alice"]
    assert stat.S_IMODE((tmp_path / "new.db").stat().st_mode) & 0o077 == 0


@pytest.mark.parametrize("content", [b"", b"not a database" * 100, None])
def test_what_is_no_backup_changes_nothing(store, path, target, content):
    add(store, "alice")
    if content is None:
        sqlite3.connect(target).execute("CREATE TABLE other (x)")
    else:
        target.write_bytes(content)
    with pytest.raises(Error, match="is no backup"):
        restore(path, target)
    assert logins(path) == ["alice"]
    assert [each for each in path.parent.iterdir() if "restore" in each.name] == []


def test_a_damaged_backup_is_refused(store, path, target):
    for number in range(300):
        add(store, f"user{number}")
    back_up(path, target)
    content = bytearray(target.read_bytes())
    content[8192:40960] = b"\xff" * (40960 - 8192)
    target.write_bytes(content)
    with pytest.raises(Error, match="is no backup"):
        restore(path, target)
    assert len(logins(path)) == 300


def test_a_store_of_an_older_version_is_kept_aside_before_it_is_migrated(store, path):
    version = store.database.one("PRAGMA user_version")[0]
    store.close()
    path.unlink()
    connection = old_file(path, version - 1)
    connection.execute(
        "INSERT INTO users (login, name, password_hash, role, created_at) VALUES ('alice', '', '', 'user', 0)"
    )
    connection.close()
    assert logins(path) == ["alice"]
    aside = path.with_name(f"{path.name}.version-{version - 1}")
    assert stat.S_IMODE(aside.stat().st_mode) == 0o600
    with sqlite3.connect(aside) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (version - 1,)
        assert connection.execute("SELECT login FROM users").fetchall() == [("alice",)]


def test_a_damaged_store_is_refused_with_what_to_do(store, path):
    for number in range(300):
        add(store, f"user{number}")
    store.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    content = bytearray(path.read_bytes())
    content[8192:40960] = b"\xff" * (40960 - 8192)
    path.write_bytes(content)
    with pytest.raises(Misconfigured, match="regadmin restore"):
        Store(path)
