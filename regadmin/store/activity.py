"""Who did what, when, and from where; and how often it was done."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping

from regadmin.entities import ActivityEntry, Page
from regadmin.store.database import Database, like
from regadmin.store.listing import Listing

MOST_COUNTED = 10_000
"""Rows of a list that are counted one by one; that there are more is all that a reader wants to know."""

MOST_READ = 100_000
"""Rows that a search reads, where it has no index to look a text up."""

_RARE = 20_000
"""Of more rows to look up than that, it is better to read the newest that the other filters leave."""

_QUARTER = 900
_BATCH = 1000

_CONDITIONS = {
    "q": "(actor LIKE :q ESCAPE '\\' OR object LIKE :q ESCAPE '\\' OR address LIKE :q ESCAPE '\\')",
    "actor": "actor = :actor COLLATE NOCASE",
    "event": "event = :event",
    "repository": "repository = :repository AND repository <> ''",
    "since": "at >= :since",
    "until": "at < :until",
}
_UNINDEXED = {name: "+" + condition for name, condition in _CONDITIONS.items()}
"""For rows that the trigram index has found already."""

_SELECTIVE = ("actor", "repository")
"""Their indexes serve a list better than that of the events, of which there are few kinds."""

_FOUND_BY_TEXT = """id IN (SELECT rowid FROM activity_text WHERE activity_text MATCH :phrase
                         ORDER BY rowid DESC LIMIT :newest)"""
_SINCE = "id >= (SELECT min(+id) FROM activity WHERE at >= :since) AND at >= :since"
"""For a search, which has to read every row: in the order of the table that takes half the time."""

_FOUND = """
SELECT a.*,
  CASE WHEN a.repository <> '' THEN (SELECT name FROM repositories WHERE name = a.repository) END AS known_repository,
  CASE WHEN a.repository <> '' AND substr(a.object, length(a.repository) + 1, 1) = ':' THEN (
    SELECT t.name FROM tags t JOIN repositories r ON r.id = t.repository_id
    WHERE r.name = a.repository AND t.name = substr(a.object, length(a.repository) + 2)) END AS known_tag,
  CASE WHEN a.repository <> '' AND substr(a.object, length(a.repository) + 1, 1) = '@' THEN (
    SELECT m.digest FROM manifests m JOIN repositories r ON r.id = m.repository_id
    WHERE r.name = a.repository AND m.digest = substr(a.object, length(a.repository) + 2)) END AS known_digest,
  CASE
    WHEN a.event LIKE 'rule %' THEN (SELECT id FROM rules
      WHERE id = COALESCE(json_extract(a.details, '$.id'), json_extract(a.details, '$.after.id')))
    WHEN a.event LIKE 'group %' THEN (SELECT id FROM groups WHERE name = a.object)
    WHEN a.repository = '' THEN (SELECT id FROM users WHERE login = a.object)
  END AS known_id
FROM page JOIN activity a ON a.id = page.id
ORDER BY a.at DESC, a.id DESC
"""


class ActivityStore:
    def __init__(self, database: Database):
        self._database = database

    def add(
        self, event: str, actor: str, object: str, address: str = "", details: dict | None = None, at: int = 0
    ) -> None:
        """`at` is now unless given. Never hand it a secret."""
        self._database.execute(
            """
            INSERT INTO activity (at, actor, event, object, address, details, repository)
            VALUES (?, ?, ?, ?, ?, ?, ?)
            """,
            (at or self._database.now(), actor, event, object, address, json.dumps(details or {}))
            + (_repository(event, object),),
        )

    def count(self, event: str, at: int) -> None:
        """Add one to what `counts` tells."""
        self._database.execute(
            """
            INSERT INTO activity_counts (event, at, count) VALUES (?, ?, 1)
            ON CONFLICT (event, at) DO UPDATE SET count = count + 1
            """,
            (event, at - at % _QUARTER),
        )

    def counts(self, bounds: list[int]) -> dict[tuple[str, int], int]:
        """How often each event was counted in each of the spans between two neighbours of `bounds`.

        The keys are the event and the position of the span; a span without any is missing.
        """
        rows = self._database.all(
            """
            SELECT c.event, span.key AS position, sum(c.count) AS count
            FROM (SELECT 'pull' AS event UNION ALL SELECT 'push') kind
            CROSS JOIN json_each(:starts) span
            CROSS JOIN activity_counts c ON c.event = kind.event AND c.at >= span.value
              AND c.at < json_extract(:ends, '$[' || span.key || ']')
            GROUP BY c.event, span.key
            """,
            {"starts": json.dumps(bounds[:-1]), "ends": json.dumps(bounds[1:])},
        )
        return {(row["event"], row["position"]): row["count"] for row in rows}

    def list(self, listing: Listing) -> Page:
        """Newest first. The filters are q, actor, event, repository, since and until (not included).

        Beyond MOST_COUNTED, and beyond the page itself, `total` is only a lower bound. Short texts are looked for in
        the newest MOST_READ rows, with other filters common ones too: `searched` tells.
        """
        if listing.filters.get("q") and listing.limit is not None:
            return self._search(listing)
        where, values = _narrowed(listing.filters)
        limit = -1 if listing.limit is None else listing.limit
        rows = self._page(where, values | {"limit": limit, "offset": listing.offset})
        if (rows or not listing.offset) and (listing.limit is None or len(rows) < listing.limit):
            return Page(rows, listing.offset + len(rows), listing.offset)
        most = max(MOST_COUNTED, listing.offset + len(rows))
        total = self._count(where, values, most + 1)
        return Page(rows, min(total, most), listing.offset, is_more=total > most)

    def each(self, listing: Listing) -> Iterator[ActivityEntry]:
        """All rows of the list, newest first, read as they are asked for."""
        where, values = _narrowed(listing.filters)
        after = where + " AND (at, id) < (:last_at, :last_id)"
        rows = self._page(where, values | {"limit": _BATCH, "offset": 0})
        while rows:
            yield from rows
            last = {"last_at": rows[-1].at, "last_id": rows[-1].id, "limit": _BATCH, "offset": 0}
            rows = self._page(after, values | last)

    def latest_id(self) -> int:
        """The id of the newest row, 0 without any."""
        return self._database.one("SELECT COALESCE(max(id), 0) FROM activity")[0]

    def count_after(self, row_id: int, listing: Listing, most: int) -> int:
        """How many rows of the list are newer than that one; not more than `most` are looked at."""
        where, values = _narrowed(listing.filters)
        newest = "WITH activity AS (SELECT * FROM main.activity WHERE id > :after ORDER BY id DESC LIMIT :most) "
        sql = newest + "SELECT count(*) " + where.replace(" NOT INDEXED", "")
        return self._database.one(sql, values | {"after": row_id, "most": most})[0]

    def count_objects(self, event: str, repository: str, objects: list[str], since: int) -> int:
        """How often this happened to any of these objects of the repository since then."""
        return self._database.one(
            """
            SELECT count(*) FROM activity
            WHERE repository = :repository AND repository <> '' AND at >= :since AND event = :event
              AND object IN (SELECT value FROM json_each(:objects))
            """,
            {"repository": repository, "since": since, "event": event, "objects": json.dumps(objects)},
        )[0]

    def forget(self, before: int, most: int) -> int:
        """Remove up to `most` rows that are older, and the counts of that time. Returns how many rows went."""
        with self._database.transaction():
            self._database.execute("DELETE FROM activity_counts WHERE at < ?", (before - _QUARTER,))
            return self._database.execute(
                "DELETE FROM activity WHERE id IN (SELECT id FROM activity WHERE at < ? ORDER BY at LIMIT ?)",
                (before, most),
            ).rowcount

    def latest_of(self, login: str, limit: int) -> list[dict]:
        """What the user did, and what others did to his account."""
        rows = self._database.all(
            """
            SELECT at, actor, event, object, address FROM activity
            WHERE id IN (SELECT id FROM (SELECT id FROM activity WHERE actor = :login COLLATE NOCASE
                                         ORDER BY at DESC, id DESC LIMIT :limit))
               OR id IN (SELECT id FROM (SELECT id FROM activity WHERE object = :login
                                           AND (event LIKE 'user %' OR event LIKE 'access token %')
                                         ORDER BY id DESC LIMIT :limit))
            ORDER BY at DESC, id DESC LIMIT :limit
            """,
            {"login": login, "limit": limit},
        )
        return [dict(row) for row in rows]

    def latest(self, limit: int) -> list[dict]:
        rows = self._database.all(
            "SELECT at, actor, event, object, address, details FROM activity ORDER BY id DESC LIMIT ?", (limit,)
        )
        return [dict(row) | {"details": json.loads(row["details"])} for row in rows]

    def _search(self, listing: Listing) -> Page:
        """Ids up to the end of the page and of the count are found at one go: reading for both takes twice as long."""
        most = max(MOST_COUNTED, listing.offset + listing.limit)
        where, values, searched = self._searched(listing.filters, most + 1)
        sql = f"SELECT id {where} ORDER BY at DESC, id DESC LIMIT :most"
        found = [row["id"] for row in self._database.all(sql, values | {"most": most + 1})]
        ids = json.dumps(found[listing.offset : listing.offset + listing.limit])
        rows = self._database.all(f"WITH page AS (SELECT value AS id FROM json_each(:ids)) {_FOUND}", {"ids": ids})
        is_more = len(found) > most
        total = min(len(found), most)
        return Page(list(map(_entry, rows)), total, listing.offset, is_more, 0 if is_more else searched)

    def _searched(self, filters: Mapping, most: int) -> tuple[str, dict, int]:
        """`_narrowed` for a search, and how many of the newest rows it looks at, 0 for all.

        What holds a rare text is looked up. Of the rest, the newest are read, unless nothing else narrows a search
        for which there is an index.
        """
        where, values = _narrowed(filters)
        phrase = self._database.phrase(filters["q"])
        is_alone = values.keys() <= {"q", "since"}
        if phrase and (is_alone or self._count_holding(phrase) < _RARE):
            values |= {"phrase": phrase, "newest": most if is_alone else -1}
            conditions = _UNINDEXED | {"q": _FOUND_BY_TEXT}
            found = " AND ".join(conditions[name] for name in _CONDITIONS if name in values)
            return "FROM activity WHERE " + found, values, 0
        rest, _ = _narrowed({name: value for name, value in filters.items() if name != "q"})
        values_and_most = values | {"most": MOST_READ}
        oldest = self._database.one(f"SELECT at {rest} ORDER BY at DESC LIMIT 1 OFFSET :most", values_and_most)
        if not oldest:
            return where, values, 0
        return *_narrowed({**filters, "since": oldest["at"]}), MOST_READ

    def _count_holding(self, phrase: str) -> int:
        sql = "SELECT count(*) FROM (SELECT 1 FROM activity_text WHERE activity_text MATCH :phrase LIMIT :most)"
        return self._database.one(sql, {"phrase": phrase, "most": _RARE})[0]

    def _page(self, where: str, values: dict) -> list[ActivityEntry]:
        """Rows that are passed over are read in the index only."""
        page = f"SELECT id {where} ORDER BY at DESC, id DESC LIMIT :limit OFFSET :offset"
        return [_entry(row) for row in self._database.all(f"WITH page AS ({page}) {_FOUND}", values)]

    def _count(self, where: str, values: dict, most: int) -> int:
        sql = f"SELECT count(*) FROM (SELECT 1 {where} LIMIT :most)"
        return self._database.one(sql, values | {"most": most})[0]


def _narrowed(filters: Mapping) -> tuple[str, dict]:
    """FROM and WHERE for the filters that are given, and their values. What is left out cannot keep an index away."""
    values = {name: filters[name] for name in _CONDITIONS if filters.get(name)}
    conditions, table = _CONDITIONS, "activity"
    if not values.keys().isdisjoint(_SELECTIVE):
        conditions = _CONDITIONS | {"event": "+event = :event"}
    elif "q" in values and "event" not in values:
        conditions, table = _CONDITIONS | {"since": _SINCE}, "activity NOT INDEXED"
    if "q" in values:
        values["q"] = like(values["q"])
    return f"FROM {table} WHERE " + " AND ".join(["true", *(conditions[name] for name in values)]), values


def _repository(event: str, object: str) -> str:
    """The repository that the event is about, or a rule's pattern; no name of a repository holds `:` or `@`."""
    if event not in ("push", "pull", "delete") and not event.startswith("rule "):
        return ""
    return object.partition("@")[0].partition(":")[0]


def _entry(row: sqlite3.Row) -> ActivityEntry:
    return ActivityEntry(
        row["id"],
        row["at"],
        row["actor"],
        row["event"],
        row["object"],
        row["address"],
        json.loads(row["details"]),
        _target(row),
    )


def _target(row: sqlite3.Row) -> tuple:
    if row["known_id"] is not None:
        kind = row["event"].partition(" ")[0]
        return (kind if kind in ("rule", "group") else "user", row["known_id"])
    if row["event"].startswith("rule ") or row["known_repository"] is None:
        return ()
    name = row["known_repository"]
    if row["known_tag"] is not None:
        return ("tag", name, row["known_tag"])
    if row["known_digest"] is not None:
        return ("manifest", name, row["known_digest"])
    return ("repository", name)
