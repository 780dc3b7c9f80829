"""The SQLite file: who may read it, its transactions, threads and migrations."""

import os
import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from regadmin.errors import Misconfigured
from regadmin.store import trigrams
from regadmin.store.activity import ActivityStore
from regadmin.store.database import Database, like
from regadmin.store.listing import Listing


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "data.db"


@pytest.fixture
def database(path) -> Database:
    return Database(path)


def add_group(database: Database, name: str) -> None:
    database.execute("INSERT INTO groups (name) VALUES (?)", (name,))


def groups(database: Database) -> list[str]:
    return [row["name"] for row in database.all("SELECT name FROM groups ORDER BY id")]


def elsewhere(work) -> object:
    """Do it in another thread and give back what it returned or raised."""
    answers = []

    def run():
        try:
            answers.append(work())
        except Exception as error:
            answers.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    return answers[0]


def test_nobody_but_the_owner_may_read_the_file_and_its_journal(database, path):
    add_group(database, "crew")
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file.name


def test_a_fresh_file_holds_the_default_group_and_nothing_else(database):
    assert groups(database) == ["default"]
    assert database.one("SELECT count(*) FROM users")[0] == 0


def test_what_is_written_is_there_after_a_restart(database, path):
    add_group(database, "crew")
    database.close()
    assert groups(Database(path)) == ["default", "crew"]


def test_writes_survive_a_crash(database, monkeypatch):
    monkeypatch.setattr(Database, "_connect", Database._connect.__wrapped__)
    database.close()
    assert database.one("PRAGMA journal_mode")[0] == "wal"
    assert database.one("PRAGMA synchronous")[0] == 2
    assert database.one("PRAGMA foreign_keys")[0] == 1


def test_a_transaction_is_kept_as_a_whole(database):
    with database.transaction():
        add_group(database, "one")
        add_group(database, "two")
    assert groups(database) == ["default", "one", "two"]


def test_a_transaction_that_fails_leaves_nothing(database):
    with pytest.raises(RuntimeError):
        with database.transaction():
            add_group(database, "one")
            raise RuntimeError
    assert groups(database) == ["default"]
    add_group(database, "two")
    assert groups(database) == ["default", "two"]


def test_an_inner_transaction_joins_the_outer_one(database):
    with pytest.raises(RuntimeError):
        with database.transaction():
            with database.transaction():
                add_group(database, "one")
            raise RuntimeError
    assert groups(database) == ["default"]


def test_another_thread_sees_a_transaction_only_when_it_is_done(database):
    with database.transaction():
        add_group(database, "one")
        assert elsewhere(lambda: groups(database)) == ["default"]
    assert elsewhere(lambda: groups(database)) == ["default", "one"]


def test_threads_that_read_before_they_write_wait_for_each_other(database):
    database.execute("UPDATE groups SET description = '0'")

    def count_up():
        for _ in range(20):
            with database.transaction():
                number = int(database.one("SELECT description FROM groups")["description"])
                database.execute("UPDATE groups SET description = ?", (str(number + 1),))

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert database.one("SELECT description FROM groups")["description"] == "80"


def test_each_thread_has_a_connection_of_its_own(database):
    mine = database.connection
    assert database.connection is mine
    assert elsewhere(lambda: database.connection) is not mine


def test_a_connection_that_was_closed_is_opened_again(database):
    database.close()
    database.close()
    assert groups(database) == ["default"]


@pytest.mark.parametrize("content", [b"This is no database at all. " * 50, b"SQLite format 3\0" + b"x" * 4096])
def test_a_file_that_is_no_database_is_a_misconfiguration_and_stays_as_it_is(path, content):
    path.write_bytes(content)
    with pytest.raises(Misconfigured) as caught:
        Database(path)
    assert str(path) in caught.value.message
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_a_misconfiguration_and_stays_as_it_is(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE users (id INTEGER, name TEXT)")
    with pytest.raises(Misconfigured):
        Database(path)
    with sqlite3.connect(path) as connection:
        assert [row[0] for row in connection.execute("SELECT name FROM sqlite_master")] == ["users"]


def test_a_file_of_a_newer_version_is_a_misconfiguration(database, path):
    database.execute("PRAGMA user_version = 9999")
    database.close()
    with pytest.raises(Misconfigured) as caught:
        Database(path)
    assert "newer" in caught.value.message


def test_a_directory_that_does_not_exist_is_a_misconfiguration_and_is_not_made(tmp_path):
    with pytest.raises(Misconfigured) as caught:
        Database(tmp_path / "missing" / "data.db")
    assert "directory" in caught.value.message
    assert not (tmp_path / "missing").exists()


def test_a_directory_in_place_of_the_file_is_a_misconfiguration(path):
    path.mkdir()
    with pytest.raises(Misconfigured):
        Database(path)


def test_a_migration_that_fails_leaves_nothing_behind(path, monkeypatch):
    run = Database._run_script

    def run_then_fail(self, text):
        run(self, text)
        self.execute("INSERT INTO no_such_table VALUES (1)")

    monkeypatch.setattr(Database, "_run_script", run_then_fail)
    with pytest.raises(Misconfigured):
        Database(path)
    monkeypatch.undo()
    assert groups(Database(path)) == ["default"]


def test_a_process_that_was_forked_has_a_connection_of_its_own(database):
    mine = database.connection
    child = os.fork()
    if not child:
        os._exit(0 if database.connection is not mine and groups(database) == ["default"] else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_the_time_is_that_of_the_clock_in_whole_seconds(path):
    assert Database(path, clock=lambda: 1234.9).now() == 1234


@pytest.mark.parametrize(("text", "pattern"), [("a", "%a%"), ("50%", r"%50\%%"), ("a_b", r"%a\_b%"), ("\\", r"%\\%")])
def test_text_that_is_searched_for_has_no_wildcards(text, pattern):
    assert like(text) == pattern


@pytest.mark.parametrize("text", [None, ""])
def test_no_text_is_no_condition(text):
    assert like(text) is None


def test_a_text_of_any_length_can_be_searched_for(database):
    for text in ("x" * 60_000, "%" * 60_000, "語" * 60_000):
        assert database.all("SELECT 1 FROM groups WHERE name LIKE ? ESCAPE '\\'", (like(text),)) == []


def test_a_sqlite_without_trigram_indexes_searches_by_reading_until_another_builds_them_anew(path, monkeypatch):
    def objects(text: str) -> list[str]:
        rows = ActivityStore(Database(path)).list(Listing(limit=5, filters={"q": text})).rows
        return [row.object for row in rows]

    ActivityStore(Database(path)).add("push", "alice", "team/one:v1")
    with monkeypatch.context() as patch:
        patch.setattr(trigrams, "can_index", lambda connection: False)
        ActivityStore(Database(path)).add("push", "alice", "team/two:v1")
        assert objects("team/t") == ["team/two:v1"]
    assert objects("team/t") == ["team/two:v1"]
    assert objects("EAM/O") == ["team/one:v1"]
    assert objects('"') == objects('te"am') == []
