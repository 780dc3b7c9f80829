"""What migrations make of rows that are there already."""

import sqlite3
from importlib.resources import files
from pathlib import Path

from regadmin.store import Store
from regadmin.store.listing import Listing
from regadmin.store.natural import natural_key

DIGEST = "sha256:" + "b" * 64


def old_file(path: Path, version: int) -> sqlite3.Connection:
    """A file as the migrations up to this version left it."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.create_function("natural_key", 1, natural_key, deterministic=True)
    scripts = sorted(p for p in files("regadmin.store.migrations").iterdir() if p.name.endswith(".sql"))
    for script in scripts[:version]:
        connection.executescript(script.read_text("utf-8"))
    connection.execute(f"PRAGMA user_version = {version}")
    return connection


def test_old_tags_get_their_place_among_versions_and_signatures_are_counted_apart(tmp_path):
    connection = old_file(tmp_path / "data.db", 3)
    connection.execute("INSERT INTO repositories (id, name, tag_count) VALUES (1, 'team/app', 4)")
    connection.execute(
        "INSERT INTO manifests (id, repository_id, digest, media_type, kind, size) VALUES (1, 1, ?, '', '', 5)",
        (DIGEST,),
    )
    for name in ("1.10", "1.9", "latest", "sha256-" + "a" * 64 + ".sig"):
        connection.execute(
            "INSERT INTO tags (repository_id, name, manifest_id, updated_at) VALUES (1, ?, 1, 7)", (name,)
        )
    connection.close()
    repositories = Store(tmp_path / "data.db").repositories
    found = repositories.list_tags(Listing(sort="name", filters={"repository": "team/app", "attached": False})).rows
    assert [tag.name for tag in found] == ["1.9", "1.10", "latest"]
    row = repositories.find("team/app")
    assert (row.tag_count, row.attached_count) == (3, 1)
