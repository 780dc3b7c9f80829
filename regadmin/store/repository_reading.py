"""Reading the index: lists of repositories and tags, and single things."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from regadmin.entities import Page, Repository, Tag
from regadmin.store.database import Database, like
from regadmin.store.listing import LIMIT, Listing, bounds, fetch, order_by

_REPOSITORY = """
SELECT r.id, r.name, r.tag_count, r.attached_count, r.size, r.pull_count, r.last_pulled_at, r.last_pushed_at,
       r.last_pushed_by
"""
_REPOSITORY_CONDITIONS = {
    "q": r"r.name LIKE :q ESCAPE '\'",
    "ids": "r.id IN (SELECT value FROM json_each(:ids))",
    "name": "r.name = :name",
    "namespace": "r.name >= :namespace || '/' AND r.name < :namespace || '0'",
    # By this index alone, which holds all that is asked: SQLite would choose another and read the rows as well.
    "tag": r"""EXISTS (SELECT 1 FROM tags t INDEXED BY tags_by_sort_key
                       WHERE t.repository_id = r.id AND t.is_attached = 0 AND t.name LIKE :tag ESCAPE '\')""",
    "not_pulled_since": "COALESCE(r.last_pulled_at, 0) < :not_pulled_since",
    "visible": "is_visible(r.name)",
}
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
_TAG_ORDERED = """
FROM tags t LEFT JOIN repositories r ON r.id = t.repository_id LEFT JOIN manifests m ON m.id = t.manifest_id
"""
"""What a page of tags is cut from. SQLite leaves out the tables that the order does not speak of, if joined LEFT."""

_TAG_CONDITIONS = {
    "q": r"""(t.name LIKE :q ESCAPE '\'
              OR t.repository_id IN (SELECT id FROM repositories WHERE name LIKE :q ESCAPE '\'))""",
    "ids": "t.id IN (SELECT value FROM json_each(:ids))",
    "repository": "t.repository_id = (SELECT id FROM repositories WHERE name = :repository)",
    "name": "t.name = :name",
    "digest": "t.manifest_id IN (SELECT id FROM manifests WHERE digest = :digest)",
    "attached": "t.is_attached = :attached",
    "visible": "t.repository_id IN (SELECT id FROM repositories WHERE is_visible(name))",
}
_TAG_ORDERS = {
    "name": "t.sort_key",
    "id": "t.id",
    "repository_name": "r.name",
    "digest": "m.digest",
    "size": "m.size",
    "pulls": "t.pull_count",
    "pushed": "t.pushed_at",
    "created": "m.created_at",
    "timestamp": "t.updated_at",
}
_TAG_HOLDS = r"t.name LIKE :q ESCAPE '\'"
_NAMESPACE = "substr(r.name, 1, instr(r.name, '/') - 1)"
_NAMESPACE_CONDITIONS = {
    "holds": _NAMESPACE + r" LIKE :holds ESCAPE '\'",
    "visible": _REPOSITORY_CONDITIONS["visible"],
}
_BATCH = 500

Visible = Callable[[str], bool] | None
"""Tells by its name whether a repository may be seen; None: all of them."""


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
        """The filters are q, ids, name, namespace (the first segment of the name), tag (a part of a tag's name)
        and not_pulled_since (seconds).
        """
        where, values = self._repositories_where(listing, visible)
        return fetch(self._database, _REPOSITORY, where, _REPOSITORY_ORDERS, listing, values, _repository)

    def each(self, listing: Listing, visible: Visible = None) -> Iterator[Repository]:
        """All repositories of the list, read as they are asked for. Raises Malformed, before the first one."""
        where, values = self._repositories_where(listing, visible)
        rows = self._database.all(f"SELECT r.id {where} {order_by(_REPOSITORY_ORDERS, listing)}", values)
        return self._batches([row["id"] for row in rows])

    def list_tags(self, listing: Listing, visible: Visible = None) -> Page:
        """The filters are q, ids, repository, name, digest and attached. `q` is looked for in the name of the
        tag and, without `repository`, also in that of the repository.
        """
        values = self._values(listing, _TAG_CONDITIONS, visible)
        conditions = _TAG_CONDITIONS | ({"q": _TAG_HOLDS} if "repository" in values else {})
        where = _where(conditions, values)
        order = order_by(_TAG_ORDERS, listing)
        total = self._database.one(f"SELECT count(*) FROM tags t {where}", values)[0]
        rows = self._database.all(
            f"""
            WITH page AS (SELECT t.id {_TAG_ORDERED} {where} {order} {LIMIT})
            {_TAG} FROM page JOIN tags t ON t.id = page.id
            JOIN repositories r ON r.id = t.repository_id JOIN manifests m ON m.id = t.manifest_id {order}
            """,
            values | bounds(listing),
        )
        return Page([_tag(row) for row in rows], total, listing.offset)

    def namespaces(self, text: str, limit: int, visible: Visible = None) -> list[str]:
        """The first segments of the names, those that hold the text, in order."""
        listing = Listing(filters={"holds": text})
        values = self._values(listing, _NAMESPACE_CONDITIONS, visible)
        where = _where(_NAMESPACE_CONDITIONS, values) + " AND instr(r.name, '/') > 0"
        rows = self._database.all(
            f"SELECT DISTINCT {_NAMESPACE} AS namespace FROM repositories r {where} ORDER BY 1 LIMIT :limit",
            values | {"limit": limit},
        )
        return [row["namespace"] for row in rows]

    def tags_holding(self, text: str, repository_ids: Iterable[int], most: int) -> dict[int, TagNames]:
        """For each repository the newest versions among its tags whose names hold the text."""
        return self._tag_names(
            r"""
            SELECT repository_id AS owner, name, sort_key FROM tags
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
        self._database.connection.create_function("is_visible", 1, visible or bool)
        rows = self._database.all(
            """
            SELECT b.digest, count(DISTINCT other.digest) AS images
            FROM manifest_blobs mine JOIN blobs b ON b.id = mine.blob_id
            JOIN manifest_blobs theirs ON theirs.blob_id = mine.blob_id
            JOIN manifests other ON other.id = theirs.manifest_id AND other.digest <> :digest
            JOIN repositories r ON r.id = other.repository_id
            WHERE mine.manifest_id = :id AND mine.position > 0 AND (:is_filtered = 0 OR is_visible(r.name))
            GROUP BY b.digest
            """,
            {"id": self._manifest_id(repository, digest), "digest": digest, "is_filtered": visible is not None},
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
        values = self._values(listing, _REPOSITORY_CONDITIONS, visible)
        where = "FROM repositories r " + _where(_REPOSITORY_CONDITIONS, values)
        if "tag" not in values:
            return where, values
        # Reading the tags costs most, so that it is done once, though a list is counted and read.
        ids = [row["id"] for row in self._database.all("SELECT r.id " + where, values)]
        return "FROM repositories r WHERE r.id IN (SELECT value FROM json_each(:ids))", {"ids": json.dumps(ids)}

    def _values(self, listing: Listing, conditions: Mapping[str, str], visible: Visible) -> dict:
        """The values of the conditions that are wanted."""
        values = {name: listing.filters.get(name) for name in conditions}
        values |= {name: like(values.get(name)) for name in ("q", "tag", "holds")}
        if values.get("ids") is not None:
            values["ids"] = json.dumps(values["ids"])
        if visible:
            self._database.connection.create_function("is_visible", 1, visible)
            values["visible"] = True
        return {name: value for name, value in values.items() if value is not None}

    def _batches(self, ids: list[int]) -> Iterator[Repository]:
        for start in range(0, len(ids), _BATCH):
            batch = ids[start : start + _BATCH]
            found = {row.id: row for row in self.list(Listing(filters={"ids": batch})).rows}
            yield from (found[row_id] for row_id in batch if row_id in found)

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
    return "WHERE " + " AND ".join(["true", *(conditions[name] for name in values)])


def _repository(row: sqlite3.Row) -> Repository:
    return Repository(**dict(row))


def _tag(row: sqlite3.Row) -> Tag:
    return Tag(**dict(row) | {"platforms": tuple(json.loads(row["platforms"]))})
