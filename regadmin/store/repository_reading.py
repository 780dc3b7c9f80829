"""Reading the index: lists of repositories and tags, and single things."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from regadmin.entities import Page, Repository, Tag
from regadmin.store.database import Database, like
from regadmin.store.listing import LIMIT, Listing, bounds, from_nearer_end, order_by

_REPOSITORY = """
SELECT r.id, r.name, r.tag_count, r.attached_count, r.size, r.pull_count, r.last_pulled_at, r.last_pushed_at,
       r.last_pushed_by
"""
_REPOSITORY_CONDITIONS = {
    "q": r"r.name LIKE :q ESCAPE '\'",
    "ids": "r.id IN (SELECT value FROM json_each(:ids))",
    "name": "r.name = :name",
    "names": "r.name IN (SELECT value FROM json_each(:names))",
    "namespace": "r.name >= :namespace || '/' AND r.name < :namespace || '0'",
    "not_pulled_since": "COALESCE(r.last_pulled_at, 0) < :not_pulled_since",
    "visible": "substr(:visible, r.id + 1, 1) = x'01'",
}
_HOLDING = {"holding": "r.id IN (SELECT value FROM json_each(:holding))"}
_HOLDS_TAG = {
    "tag": r"""EXISTS (SELECT 1 FROM tags t INDEXED BY tags_by_sort_key
               WHERE t.repository_id = r.id AND t.is_attached = 0 AND t.name LIKE :tag ESCAPE '\')"""
}
# What `is_attached` says, told by the name: the index of names is all that is read then.
_HOLDING_TEXT = r"""
SELECT DISTINCT repository_id FROM tags WHERE name LIKE :text ESCAPE '\' AND NOT (
  substr(name, 1, 7) = 'sha256-' AND length(name) >= 71 AND substr(name, 8, 64) NOT GLOB '*[^0-9a-f]*'
  AND substr(name, 72, 1) IN ('', '.')) LIMIT :most
"""
_HOLDING_PHRASE = """
SELECT DISTINCT t.repository_id FROM tag_text f CROSS JOIN tags t ON t.id = f.rowid
WHERE f.tag_text MATCH :phrase AND t.is_attached = 0 LIMIT :most
"""
_COUNT_PHRASE = "SELECT count(*) FROM (SELECT 1 FROM tag_text WHERE tag_text MATCH :phrase LIMIT :most)"
_RARE = 20_000
"""Of more tags to look up than that, it is quicker to read until enough are found."""

MOST_COUNTED = 10_000
"""Rows of a search that are counted one by one; that there are more is all that a reader wants to know."""

_REPOSITORY_ORDERS = {
    "name": "r.name",
    "id": "r.id",
    "tags": "r.tag_count",
    "size": "r.size",
    "pulls": "r.pull_count",
    "pushed": "r.last_pushed_at",
}
_TAG = """
SELECT t.id, r.name AS repository, t.name, m.digest, m.config_digest, m.media_type, m.kind, m.size,
       m.platforms, t.pull_count, t.last_pulled_at, t.pushed_at, t.pushed_by, m.created_at, t.updated_at
"""
_REPOSITORIES_FIRST = "repositories r CROSS JOIN tags t ON t.repository_id = r.id"
"""What a page of all tags is cut from in the order of their repositories, which the tags alone do not know."""

_TAG_CONDITIONS = {
    "ids": "t.id IN (SELECT value FROM json_each(:ids))",
    "repository": "t.repository_id = (SELECT id FROM repositories WHERE name = :repository)",
    "name": "t.sort_key = natural_key(:name) AND t.name = :name",
    "digest": "t.manifest_id IN (SELECT id FROM manifests WHERE digest = :digest)",
    "attached": "t.is_attached = :attached",
    "visible": "substr(:visible, t.repository_id + 1, 1) = x'01'",
}
_TAG_ORDERS = {
    "name": ("t.sort_key", "t.repository_id"),
    "id": "t.id",
    "repository_name": ("r.name", "t.name"),
    "digest": ("t.digest_start", "t.repository_id"),
    "size": ("t.size", "t.repository_id"),
    "pulls": ("t.pull_count", "t.repository_id"),
    "pushed": "t.pushed_at",
    "created": "t.created_at",
    "timestamp": ("t.updated_at", "t.repository_id"),
}
_TAG_HOLDS = r"t.name LIKE :q ESCAPE '\'"
_TAG_HOLDS_PHRASE = "t.id IN (SELECT rowid FROM tag_text WHERE tag_text MATCH :phrase)"
_NAMED = r"SELECT id FROM repositories WHERE name LIKE :q ESCAPE '\'"
_IN_NAMED = f"t.repository_id IN ({_NAMED})"
_ANY_NAMED = _NAMED + " LIMIT 1"
_FOUND_TAGS = "t.id IN (SELECT value FROM json_each(:found))"
_NAMESPACES = r"""
WITH RECURSIVE spaces (name) AS (
  SELECT min(namespace) FROM repositories WHERE namespace > ''
  UNION ALL
  SELECT (SELECT min(r.namespace) FROM repositories r WHERE r.namespace > spaces.name) FROM spaces
  WHERE spaces.name IS NOT NULL)
SELECT name FROM spaces WHERE name IS NOT NULL AND (:holds IS NULL OR name LIKE :holds ESCAPE '\')
"""
"""From one to the next in the index: there are fewer of them than repositories, and a few are asked for."""

_BATCH = 500

Visible = bytes | None
"""1 at the id of each repository that may be seen; None: all of them. What it does not reach to may not."""


@dataclass(frozen=True, slots=True)
class IndexedManifest:
    """What the index knows of a manifest beside its document."""

    digest: str
    media_type: str
    kind: str
    artifact_type: str
    config_digest: str
    size: int
    layer_count: int
    created_at: int | None
    pushed_at: int | None
    pushed_by: str
    pull_count: int
    last_pulled_at: int | None


@dataclass(frozen=True, slots=True)
class TagNames:
    """The names of some tags, and how many there are in all."""

    names: tuple[str, ...]
    total: int


class RepositoryReader:
    def __init__(self, database: Database):
        self._database = database

    def list(self, listing: Listing, visible: Visible = None) -> Page:
        """The filters are q, ids, name, names, namespace (the first segment of the name), tag (a part of a tag's name)
        and not_pulled_since (seconds). Of a search for tags `total` may be a lower bound, as `is_more` tells.
        """
        order = order_by(_REPOSITORY_ORDERS, listing)
        where, values = self._repositories_where(listing, visible)
        total, is_more = self._count(where, values, listing)
        cut = listing if is_more else from_nearer_end(listing, total)
        rows = self._database.all(
            f"""
            WITH page AS (SELECT r.id {where} {order_by(_REPOSITORY_ORDERS, cut)} {LIMIT})
            {_REPOSITORY} FROM page CROSS JOIN repositories r ON r.id = page.id {order}
            """,
            values | bounds(cut),
        )
        return Page([_repository(row) for row in rows], total, listing.offset, is_more)

    def each(self, listing: Listing, visible: Visible = None) -> Iterator[Repository]:
        """All repositories of the list, read as they are asked for. Raises Malformed, before the first one."""
        where, values = self._repositories_where(listing, visible)
        rows = self._database.all(f"SELECT r.name {where} {order_by(_REPOSITORY_ORDERS, listing)}", values)
        return self._batches([row["name"] for row in rows])

    def list_tags(self, listing: Listing, visible: Visible = None) -> Page:
        """The filters are q, ids, repository, name, digest and attached. `q` is looked for in the name of the
        tag and, without `repository`, also in that of the repository; `total` of a search may be a lower bound, as
        `is_more` tells.
        """
        order = order_by(_TAG_ORDERS, listing)
        values = self._values(listing, ("q", *_TAG_CONDITIONS), visible)
        source, total, is_more = self._found_tags(values, listing) if "q" in values else self._all_tags(values, listing)
        cut = listing if is_more else from_nearer_end(listing, total)
        rows = self._database.all(
            f"""
            WITH page AS (SELECT t.id {source} {order_by(_TAG_ORDERS, cut)} {LIMIT})
            {_TAG} FROM page CROSS JOIN tags t ON t.id = page.id
            JOIN repositories r ON r.id = t.repository_id JOIN manifests m ON m.id = t.manifest_id {order}
            """,
            values | bounds(cut),
        )
        return Page([_tag(row) for row in rows], total, listing.offset, is_more)

    def namespaces(self, text: str, limit: int, visible: Visible = None) -> list[str]:
        """The first segments of the names, those that hold the text, in order."""
        sql, values = _NAMESPACES, {"holds": like(text), "limit": limit}
        if visible is not None:
            values["visible"] = visible
            sql += """
                AND EXISTS (SELECT 1 FROM repositories r
                            WHERE r.namespace = spaces.name AND substr(:visible, r.id + 1, 1) = x'01')
            """
        return [row["name"] for row in self._database.all(sql + " LIMIT :limit", values)]

    def arrivals(self) -> tuple[int, int]:
        """Two numbers: one moves when a repository comes, the other when one goes."""
        return tuple(self._database.one("SELECT arrivals, departures FROM revision"))

    def between(self, spans: Iterable[tuple[str, str]], born_after: int = 0) -> list[tuple[str, int]]:
        """Names, in order, and ids of the repositories in these spans of names, without the spans' ends.

        With `born_after` only those that came after the arrivals had that number.
        """
        spans = json.dumps(list(spans))
        if born_after:
            sql = """
                SELECT r.name, r.id FROM repositories r WHERE r.born > :born AND EXISTS (
                  SELECT 1 FROM json_each(:spans) s
                  WHERE r.name >= json_extract(s.value, '$[0]') AND r.name < json_extract(s.value, '$[1]'))
                ORDER BY 1
                """
        else:
            sql = """
                SELECT r.name, r.id FROM json_each(:spans) s CROSS JOIN repositories r
                  ON r.name >= json_extract(s.value, '$[0]') AND r.name < json_extract(s.value, '$[1]')
                ORDER BY 1
                """
        return [tuple(row) for row in self._database.all(sql, {"spans": spans, "born": born_after})]

    def tags_holding(self, text: str, repository_ids: Iterable[int], most: int) -> dict[int, TagNames]:
        """For each repository the newest versions among its tags whose names hold the text."""
        return self._tag_names(
            r"""
            SELECT repository_id AS owner, name, sort_key FROM tags INDEXED BY tags_by_sort_key
            WHERE repository_id IN (SELECT value FROM json_each(:owners)) AND name LIKE :text ESCAPE '\'
              AND is_attached = 0
            """,
            "sort_key DESC",
            {"owners": json.dumps(list(repository_ids)), "text": like(text), "most": most},
        )

    def tags_by_digest(self, repository: str, digests: Iterable[str], most: int) -> dict[str, TagNames]:
        """For each digest the first of the tags that point to it."""
        return self._tag_names(
            """
            SELECT m.digest AS owner, t.name, t.sort_key FROM manifests m JOIN tags t ON t.manifest_id = m.id
            WHERE m.repository_id = (SELECT id FROM repositories WHERE name = :repository)
              AND m.digest IN (SELECT value FROM json_each(:owners))
            """,
            "sort_key",
            {"repository": repository, "owners": json.dumps(list(digests)), "most": most},
        )

    def digests(self, repository: str) -> list[str]:
        """Those of all manifests; an index comes before its parts, which were saved before it."""
        rows = self._database.all(
            """
            SELECT m.digest FROM manifests m JOIN repositories r ON r.id = m.repository_id
            WHERE r.name = ? ORDER BY m.id DESC
            """,
            (repository,),
        )
        return [row["digest"] for row in rows]

    def find(self, name: str) -> Repository | None:
        row = self._database.one(_REPOSITORY + "FROM repositories r WHERE r.name = ?", (name,))
        return _repository(row) if row else None

    def is_empty(self) -> bool:
        return self._database.one("SELECT 1 FROM repositories LIMIT 1") is None

    def tag_digest(self, repository: str, tag: str) -> str:
        """The digest that the tag is known to point to, or ''."""
        row = self._database.one(
            """
            SELECT m.digest FROM tags t JOIN manifests m ON m.id = t.manifest_id
            JOIN repositories r ON r.id = t.repository_id WHERE r.name = ? AND t.name = ?
            """,
            (repository, tag),
        )
        return row["digest"] if row else ""

    def tags_of(self, repository: str, digest: str) -> list[str]:
        """The names of all tags that point to the digest."""
        rows = self._database.all(
            """
            SELECT t.name FROM tags t JOIN manifests m ON m.id = t.manifest_id
            JOIN repositories r ON r.id = t.repository_id WHERE r.name = ? AND m.digest = ? ORDER BY t.name
            """,
            (repository, digest),
        )
        return [row["name"] for row in rows]

    def has_manifest(self, repository: str, digest: str) -> bool:
        return self._manifest_id(repository, digest) is not None

    def document(self, repository: str, digest: str) -> bytes | None:
        """The manifest's bytes."""
        row = self._database.one(
            "SELECT raw FROM documents WHERE manifest_id = ?", (self._manifest_id(repository, digest),)
        )
        return row["raw"] if row else None

    def documents(self, tag_ids: Iterable[int]) -> dict[int, bytes]:
        """The bytes of the manifests that these tags point to, by the tags' ids."""
        rows = self._database.all(
            """
            SELECT t.id, d.raw FROM json_each(?) wanted CROSS JOIN tags t ON t.id = wanted.value
            JOIN documents d ON d.manifest_id = t.manifest_id
            """,
            (json.dumps(list(tag_ids)),),
        )
        return {row["id"]: row["raw"] for row in rows}

    def config(self, repository: str, config_digest: str) -> bytes | None:
        """The bytes of an image configuration that one of the repository's manifests refers to."""
        row = self._database.one(
            """
            SELECT d.config FROM manifests m JOIN repositories r ON r.id = m.repository_id
            JOIN documents d ON d.manifest_id = m.id
            WHERE r.name = ? AND m.config_digest = ? AND d.config IS NOT NULL LIMIT 1
            """,
            (repository, config_digest),
        )
        return row["config"] if row else None

    def any_config(self, config_digest: str) -> bytes | None:
        """The bytes of an image configuration that a manifest of whichever repository refers to."""
        row = self._database.one(
            """
            SELECT d.config FROM manifests m JOIN documents d ON d.manifest_id = m.id
            WHERE m.config_digest = ? AND d.config IS NOT NULL LIMIT 1
            """,
            (config_digest,),
        )
        return row["config"] if row else None

    def manifests(self, repository: str, digests: Iterable[str]) -> dict[str, IndexedManifest]:
        """Those of the digests that the index holds."""
        rows = self._database.all(
            """
            SELECT m.digest, m.media_type, m.kind, m.artifact_type, m.config_digest, m.size, m.created_at, m.pushed_at,
              m.pushed_by, m.pull_count, m.last_pulled_at,
              (SELECT count(*) FROM manifest_blobs b WHERE b.manifest_id = m.id AND b.position > 0) AS layer_count
            FROM manifests m JOIN repositories r ON r.id = m.repository_id
            WHERE r.name = ? AND m.digest IN (SELECT value FROM json_each(?))
            """,
            (repository, json.dumps(list(digests))),
        )
        return {row["digest"]: IndexedManifest(**dict(row)) for row in rows}

    def tags_named(self, repository: str, names: Iterable[str]) -> dict[str, str]:
        """The digests of those of the tags that exist."""
        rows = self._database.all(
            """
            SELECT t.name, m.digest FROM tags t JOIN manifests m ON m.id = t.manifest_id
            JOIN repositories r ON r.id = t.repository_id
            WHERE r.name = ? AND t.name IN (SELECT value FROM json_each(?)) ORDER BY t.name
            """,
            (repository, json.dumps(list(names))),
        )
        return {row["name"]: row["digest"] for row in rows}

    def sharing(self, repository: str, digest: str, visible: Visible = None) -> dict[str, int]:
        """For each layer that other images hold as well, how many those are."""
        rows = self._database.all(
            """
            SELECT b.digest, count(DISTINCT other.digest) AS images
            FROM manifest_blobs mine JOIN blobs b ON b.id = mine.blob_id
            JOIN manifest_blobs theirs ON theirs.blob_id = mine.blob_id
            JOIN manifests other ON other.id = theirs.manifest_id AND other.digest <> :digest
            JOIN repositories r ON r.id = other.repository_id
            WHERE mine.manifest_id = :id AND mine.position > 0
              AND (:visible IS NULL OR substr(:visible, r.id + 1, 1) = x'01')
            GROUP BY b.digest
            """,
            {"id": self._manifest_id(repository, digest), "digest": digest, "visible": visible},
        )
        return {row["digest"]: row["images"] for row in rows}

    def parents(self, repository: str, digest: str) -> list[str]:
        """The digests of the indexes that the manifest is a direct part of."""
        rows = self._database.all(
            """
            SELECT DISTINCT m.digest FROM children c JOIN manifests m ON m.id = c.manifest_id
            JOIN repositories r ON r.id = m.repository_id WHERE r.name = ? AND c.digest = ? ORDER BY m.id
            """,
            (repository, digest),
        )
        return [row["digest"] for row in rows]

    def lone_children(self, repository: str, digest: str) -> list[str]:
        """The parts of an index that no tag and no other index needs."""
        rows = self._database.all(
            """
            SELECT DISTINCT part.digest FROM children c JOIN manifests whole ON whole.id = c.manifest_id
            JOIN manifests part ON part.digest = c.digest AND part.repository_id = whole.repository_id
            WHERE whole.id = :id AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.manifest_id = part.id)
              AND NOT EXISTS (
                SELECT 1 FROM children c JOIN manifests other ON other.id = c.manifest_id
                WHERE c.digest = part.digest AND other.repository_id = part.repository_id AND other.id <> whole.id)
            """,
            {"id": self._manifest_id(repository, digest)},
        )
        return [row["digest"] for row in rows]

    # Inner parts

    def _repositories_where(self, listing: Listing, visible: Visible) -> tuple[str, dict]:
        conditions, text = _REPOSITORY_CONDITIONS, listing.filters.get("tag")
        holding = self._holding(text) if text else None
        if text:
            conditions = conditions | (_HOLDS_TAG if holding is None else _HOLDING)
        values = self._values(listing, conditions, visible) | ({"holding": holding} if holding else {})
        return "FROM repositories r " + _where(conditions, values), values

    def _holding(self, text: str) -> str | None:
        """The ids of the repositories with a tag whose name holds the text, as JSON: looked for once, though a list is
        counted and read. None if there are so many that a page is full soon.
        """
        sql = _HOLDING_PHRASE if self._is_rare(text) else _HOLDING_TEXT
        values = {"phrase": self._database.phrase(text), "text": like(text), "most": MOST_COUNTED}
        ids = [row_id for (row_id,) in self._database.all(sql, values)]
        return json.dumps(ids) if len(ids) < MOST_COUNTED else None

    def _is_rare(self, text: str) -> bool:
        """Whether the trigram index tells the tags that hold the text, and they are few enough to look them up."""
        phrase = self._database.phrase(text)
        return bool(phrase) and self._database.one(_COUNT_PHRASE, {"phrase": phrase, "most": _RARE})[0] < _RARE

    def _count(self, where: str, values: dict, listing: Listing) -> tuple[int, bool]:
        """How many repositories there are, and whether more: what is looked for in tags is not counted to its end."""
        if "tag" not in values or listing.limit is None:
            return self._database.one("SELECT count(*) " + where, values)[0], False
        most = max(MOST_COUNTED, listing.offset + listing.limit)
        sql = f"SELECT count(*) FROM (SELECT 1 {where} LIMIT :most)"
        total = self._database.one(sql, values | {"most": most + 1})[0]
        return min(total, most), total > most

    def _all_tags(self, values: dict, listing: Listing) -> tuple[str, int, bool]:
        """What a page is cut from, and how many rows that has."""
        where = _where(_TAG_CONDITIONS, values)
        if values.keys() == {"visible"}:
            sql = "SELECT COALESCE(sum(tag_count + attached_count), 0) FROM repositories r "
            sql += _where(_REPOSITORY_CONDITIONS, values)
        else:
            sql = "SELECT count(*) FROM tags t " + where
        table = _REPOSITORIES_FIRST if listing.sort == "repository_name" else "tags t"
        return f"FROM {table} {where}", self._database.one(sql, values)[0], False

    def _found_tags(self, values: dict, listing: Listing) -> tuple[str, int, bool]:
        """The same for a search. Completes the values.

        A few are found first and put in order then; of many a page is full before many have been passed over.
        """
        most = -1 if listing.limit is None else max(MOST_COUNTED, listing.offset + listing.limit)
        is_everywhere = "repository" not in values
        looked_up = is_everywhere and self._is_rare(listing.filters["q"])
        others = f" OR {_IN_NAMED}" if is_everywhere and self._database.one(_ANY_NAMED, values) else ""
        conditions = _TAG_CONDITIONS | {"q": f"({_TAG_HOLDS}{others})"}
        finding = conditions | ({"q": f"({_TAG_HOLDS_PHRASE}{others})"} if looked_up else {})
        # It holds all that is asked: SQLite would choose another and read the rows as well.
        index = "INDEXED BY tags_by_sort_key" if values.keys() - {"phrase"} == {"q", "repository", "attached"} else ""
        sql = f"SELECT t.id FROM tags t {index} {_where(finding, values)} LIMIT :most"
        found = self._database.all(sql, values | {"most": most + 1 if most >= 0 else -1})
        if 0 <= most < len(found):
            table = _REPOSITORIES_FIRST if listing.sort == "repository_name" else "tags t"
            return f"FROM {table} {_where(conditions, values)}", most, True
        values["found"] = json.dumps([row_id for (row_id,) in found])
        return f"FROM tags t JOIN repositories r ON r.id = t.repository_id WHERE {_FOUND_TAGS}", len(found), False

    def _values(self, listing: Listing, conditions: Iterable[str], visible: Visible) -> dict:
        """The values of the conditions that are wanted."""
        values = {name: listing.filters.get(name) for name in conditions}
        values |= {name: like(values.get(name)) for name in ("q", "tag")}
        values |= {name: json.dumps(values[name]) for name in ("ids", "names") if values.get(name) is not None}
        values["visible"] = visible
        values["phrase"] = self._database.phrase(listing.filters.get("q"))
        return {name: value for name, value in values.items() if value is not None}

    def _batches(self, names: list[str]) -> Iterator[Repository]:
        """By their names: what may be seen by an id could be another one by now."""
        for start in range(0, len(names), _BATCH):
            batch = names[start : start + _BATCH]
            found = {row.name: row for row in self.list(Listing(filters={"names": batch})).rows}
            yield from (found[name] for name in batch if name in found)

    def _tag_names(self, tags: str, order: str, values: dict) -> dict:
        """`tags` selects owner, name and sort_key; of each owner's tags the first are named."""
        rows = self._database.all(
            f"""
            SELECT owner, name, total FROM (
              SELECT owner, name, count(*) OVER (PARTITION BY owner) AS total,
                row_number() OVER (PARTITION BY owner ORDER BY {order}, name) AS position
              FROM ({tags}))
            WHERE position <= :most ORDER BY owner, position
            """,
            values,
        )
        groups = {owner: list(found) for owner, found in groupby(rows, lambda row: row["owner"])}
        return {
            owner: TagNames(tuple(row["name"] for row in found), found[0]["total"]) for owner, found in groups.items()
        }

    def _manifest_id(self, repository: str, digest: str) -> int | None:
        row = self._database.one(
            """
            SELECT m.id FROM manifests m JOIN repositories r ON r.id = m.repository_id
            WHERE r.name = ? AND m.digest = ?
            """,
            (repository, digest),
        )
        return row["id"] if row else None


def _where(conditions: Mapping[str, str], values: Mapping) -> str:
    """What is not asked for is left out: a condition that is always true would keep an index from being used."""
    return "WHERE " + " AND ".join(["true", *(conditions[name] for name in values if name in conditions)])


def _repository(row: sqlite3.Row) -> Repository:
    return Repository(**dict(row))


def _tag(row: sqlite3.Row) -> Tag:
    return Tag(**dict(row) | {"platforms": tuple(json.loads(row["platforms"]))})
