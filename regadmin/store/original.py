"""The store of zebox/registry-admin, read only."""

import sqlite3
from contextlib import closing
from pathlib import Path

from regadmin.errors import Error


def read_original(path: Path) -> dict[str, list[dict]]:
    """The rows of its tables users, groups and access: text and numbers, '' standing for NULL. Raises Error."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            tables = {
                "users": connection.execute(
                    "SELECT id, login, name, password, role, user_group, disabled, description FROM users ORDER BY id"
                ),
                "groups": connection.execute("SELECT id, name, description FROM groups ORDER BY id"),
                "access": connection.execute(
                    """
                    SELECT id, owner_id, is_group, name, resource_type, resource_name, action, disabled
                    FROM access ORDER BY id
                    """
                ),
            }
            return {name: [_row(row) for row in rows] for name, rows in tables.items()}
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise Error(f"{path} cannot be read as a store of zebox/registry-admin: {error}") from None


def _row(row: sqlite3.Row) -> dict:
    return {name: _value(row[name]) for name in row.keys()}  # noqa: SIM118 - a Row is no dict


def _value(value: str | int | float | bytes | None) -> str | int | float:
    if isinstance(value, bytes):
        return value.decode()
    return "" if value is None else value
