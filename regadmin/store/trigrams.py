"""Indexes of all that a text holds, three characters at a time, so that a search reads only what it finds.

SQLite may be built without them. They are apart from the migrations therefore, and searches do without if need be.
"""

import sqlite3

SHORTEST, LONGEST = 3, 100
"""Characters of a text that is looked up; shorter ones are in no index, longer ones cost more than reading."""

_TABLES = {
    "tag_text": (
        """
        CREATE VIRTUAL TABLE tag_text USING fts5(name, content='tags', content_rowid='id', tokenize='trigram')
        """,
        """
        CREATE TRIGGER tag_text_came AFTER INSERT ON tags BEGIN
            INSERT INTO tag_text (rowid, name) VALUES (new.id, new.name);
        END
        """,
        """
        CREATE TRIGGER tag_text_went AFTER DELETE ON tags BEGIN
            INSERT INTO tag_text (tag_text, rowid, name) VALUES ('delete', old.id, old.name);
        END
        """,
        "INSERT INTO tag_text (tag_text) VALUES ('rebuild')",
    ),
    "activity_text": (
        """
        CREATE VIRTUAL TABLE activity_text USING fts5(
            actor, object, address, content='activity', content_rowid='id', tokenize='trigram')
        """,
        """
        CREATE TRIGGER activity_text_came AFTER INSERT ON activity BEGIN
            INSERT INTO activity_text (rowid, actor, object, address)
            VALUES (new.id, new.actor, new.object, new.address);
        END
        """,
        """
        CREATE TRIGGER activity_text_went AFTER DELETE ON activity BEGIN
            INSERT INTO activity_text (activity_text, rowid, actor, object, address)
            VALUES ('delete', old.id, old.actor, old.object, old.address);
        END
        """,
        "INSERT INTO activity_text (activity_text) VALUES ('rebuild')",
    ),
}
_TRIGGERS = ("tag_text_came", "tag_text_went", "activity_text_came", "activity_text_went")


def can_index(connection: sqlite3.Connection) -> bool:
    """Whether this SQLite knows such indexes."""
    try:
        connection.execute("CREATE VIRTUAL TABLE temp.trigram_probe USING fts5(probe, tokenize='trigram')")
    except sqlite3.OperationalError:
        return False
    connection.execute("DROP TABLE temp.trigram_probe")
    return True


def is_indexed(connection: sqlite3.Connection) -> bool:
    """Whether the indexes are there and kept up."""
    found = connection.execute(
        "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name LIKE '%\\_text\\_%' ESCAPE '\\'"
    )
    return found.fetchone()[0] == len(_TRIGGERS)


def prepare(connection: sqlite3.Connection) -> None:
    """Make the indexes, inside a transaction; where SQLite cannot, stop keeping those that another one made.

    Without the triggers they fall behind, so that whoever can make them again begins anew.
    """
    if not can_index(connection):
        for trigger in _TRIGGERS:
            connection.execute(f"DROP TRIGGER IF EXISTS {trigger}")
    elif not is_indexed(connection):
        for trigger in _TRIGGERS:
            connection.execute(f"DROP TRIGGER IF EXISTS {trigger}")
        for table, statements in _TABLES.items():
            connection.execute(f"DROP TABLE IF EXISTS {table}")
            for statement in statements:
                connection.execute(statement)


def phrase(text: str) -> str | None:
    """What finds the text as it stands; None if the indexes are of no use for it."""
    if not SHORTEST <= len(text) <= LONGEST or "\0" in text:
        return None
    return '"' + text.replace('"', '""') + '"'
