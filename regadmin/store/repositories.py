"""The index: repositories, tags and manifests as the registry was last seen to hold them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from regadmin.entities import ImageConfig, Manifest, Page, Repository, Tag
from regadmin.store.database import Database, like
from regadmin.store.listing import Listing, fetch

_REPOSITORY = """
SELECT r.id, r.name, r.tag_count, r.size, r.pull_count, r.last_pulled_at, r.last_pushed_at, r.last_pushed_by
"""
_REPOSITORY_WHERE = r"""
FROM repositories r
WHERE (:q IS NULL OR r.name LIKE :q ESCAPE '\')
  AND (:ids IS NULL OR r.id IN (SELECT value FROM json_each(:ids)))
  AND (:name IS NULL OR r.name = :name)
  AND (:is_filtered = 0 OR is_visible(r.name))
"""
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
_TAG_WHERE = r"""
FROM tags t JOIN repositories r ON r.id = t.repository_id JOIN manifests m ON m.id = t.manifest_id
WHERE (:q IS NULL OR t.name LIKE :q ESCAPE '\' OR (:repository IS NULL AND r.name LIKE :q ESCAPE '\'))
  AND (:ids IS NULL OR t.id IN (SELECT value FROM json_each(:ids)))
  AND (:repository IS NULL OR r.name = :repository)
  AND (:name IS NULL OR t.name = :name)
  AND (:digest IS NULL OR m.digest = :digest)
  AND (:is_filtered = 0 OR is_visible(r.name))
"""
_BELOW = """
WITH RECURSIVE below (id) AS (
  SELECT :id UNION
  SELECT part.id FROM below JOIN manifests whole ON whole.id = below.id
  JOIN children c ON c.manifest_id = whole.id
  JOIN manifests part ON part.digest = c.digest AND part.repository_id = whole.repository_id)
"""
_ABOVE = """
WITH RECURSIVE above (id) AS (
  SELECT :id UNION
  SELECT whole.id FROM above JOIN manifests part ON part.id = above.id
  JOIN children c ON c.digest = part.digest
  JOIN manifests whole ON whole.id = c.manifest_id AND whole.repository_id = part.repository_id)
"""
_TAG_ORDERS = {
    "name": "t.name",
    "id": "t.id",
    "repository_name": "r.name",
    "digest": "m.digest",
    "size": "m.size",
    "pulls": "t.pull_count",
    "pushed": "t.pushed_at",
    "created": "m.created_at",
    "timestamp": "t.updated_at",
}

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


class RepositoryStore:
    def __init__(self, database: Database):
        self._database = database

    # Reading

    def list(self, listing: Listing, visible: Visible = None) -> Page:
        parameters = self._parameters(listing, ("name",), visible)
        return fetch(
            self._database, _REPOSITORY, _REPOSITORY_WHERE, _REPOSITORY_ORDERS, listing, parameters, _repository
        )

    def list_tags(self, listing: Listing, visible: Visible = None) -> Page:
        parameters = self._parameters(listing, ("repository", "name", "digest"), visible)
        return fetch(self._database, _TAG, _TAG_WHERE, _TAG_ORDERS, listing, parameters, _tag)

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

    # Writing

    def save_manifest(self, repository: str, manifest: Manifest, config: ImageConfig | None) -> None:
        """Insert or confirm a manifest; children of an index should be saved before it."""
        with self._database.transaction():
            repository_id = self._ensure(repository)
            row = self._database.one(
                """
                INSERT INTO manifests
                  (repository_id, digest, media_type, kind, artifact_type, config_digest, size, seen_run)
                SELECT :repository_id, :digest, :media_type, :kind, :artifact_type, :config_digest, 0,
                  COALESCE(max(id), 0) FROM sync_runs WHERE true
                ON CONFLICT (repository_id, digest)
                DO UPDATE SET media_type = excluded.media_type, seen_run = excluded.seen_run RETURNING id
                """,
                {
                    "repository_id": repository_id,
                    "digest": manifest.digest,
                    "media_type": manifest.media_type,
                    "kind": manifest.kind,
                    "artifact_type": manifest.artifact_type,
                    "config_digest": manifest.config.digest if manifest.config else "",
                },
            )
            self._save_parts(row["id"], manifest, config)
            self._describe(row["id"], manifest, config)
            self._add_up(self._self_and_above(row["id"]))

    def point_tag(self, repository: str, tag: str, digest: str) -> None:
        """Let the tag point to a saved manifest, and confirm it.

        Who pushed what it pointed to before says nothing of what it points to now.
        """
        with self._database.transaction():
            self._database.execute(
                """
                INSERT INTO tags (repository_id, name, manifest_id, updated_at)
                SELECT r.id, :tag, m.id, :now FROM repositories r JOIN manifests m ON m.repository_id = r.id
                WHERE r.name = :repository AND m.digest = :digest
                ON CONFLICT (repository_id, name) DO UPDATE SET manifest_id = excluded.manifest_id,
                  updated_at = excluded.updated_at, pushed_at = NULL, pushed_by = ''
                WHERE tags.manifest_id <> excluded.manifest_id
                """,
                {"repository": repository, "tag": tag, "digest": digest, "now": self._database.now()},
            )
            self.confirm_tag(repository, tag)

    def record_push(self, repository: str, tag: str, digest: str, at: int, actor: str) -> None:
        """Note who pushed, and when, unless a later push is known. A synchronisation never does this."""
        values = {"repository": repository, "tag": tag, "digest": digest, "at": at, "actor": actor}
        with self._database.transaction():
            self._database.execute(
                """
                UPDATE repositories SET last_pushed_at = :at, last_pushed_by = :actor
                WHERE name = :repository AND COALESCE(last_pushed_at, 0) <= :at
                """,
                values,
            )
            self._database.execute(
                """
                UPDATE manifests SET pushed_at = :at, pushed_by = :actor
                WHERE digest = :digest AND COALESCE(pushed_at, 0) <= :at
                  AND repository_id = (SELECT id FROM repositories WHERE name = :repository)
                """,
                values,
            )
            self._database.execute(
                """
                UPDATE tags SET pushed_at = :at, pushed_by = :actor, updated_at = :at
                WHERE name = :tag AND COALESCE(pushed_at, 0) <= :at
                  AND repository_id = (SELECT id FROM repositories WHERE name = :repository)
                """,
                values,
            )

    def record_pull(self, repository: str, tag: str, digest: str, at: int) -> None:
        """Count a pull for the manifest, for its tag (by digest: for all its tags) and for the repository.

        Clients that pull an index fetch one of its children next: that is not another pull of the repository.
        """
        values = {"repository": repository, "tag": tag, "digest": digest, "at": at}
        with self._database.transaction():
            manifest_id = self._manifest_id(repository, digest)
            is_child = manifest_id is not None and self._has_parent(repository, digest)
            values |= {"manifest_id": manifest_id, "is_child": is_child and not tag}
            self._database.execute(
                """
                UPDATE manifests SET pull_count = pull_count + 1,
                  last_pulled_at = CASE WHEN last_pulled_at > :at THEN last_pulled_at ELSE :at END
                WHERE id = :manifest_id
                """,
                values,
            )
            self._database.execute(
                """
                UPDATE tags SET pull_count = pull_count + 1,
                  last_pulled_at = CASE WHEN last_pulled_at > :at THEN last_pulled_at ELSE :at END
                WHERE repository_id = (SELECT id FROM repositories WHERE name = :repository)
                  AND CASE WHEN :tag <> '' THEN name = :tag ELSE manifest_id = :manifest_id END
                """,
                values,
            )
            self._database.execute(
                """
                UPDATE repositories SET pull_count = pull_count + 1,
                  last_pulled_at = CASE WHEN last_pulled_at > :at THEN last_pulled_at ELSE :at END
                WHERE name = :repository AND NOT :is_child
                """,
                values,
            )

    def remove_manifest(self, repository: str, digest: str) -> int:
        """Remove it and the tags that point to it. Returns how many tags those were."""
        with self._database.transaction():
            tags = len(self.tags_of(repository, digest))
            manifest_id, *above = self._self_and_above(self._manifest_id(repository, digest))
            self._database.execute("DELETE FROM manifests WHERE id = ?", (manifest_id,))
            self._add_up(above)
            self.refresh([repository])
            return tags

    def remove_tag(self, repository: str, tag: str) -> bool:
        """Remove the tag only; tells whether it was there."""
        with self._database.transaction():
            removed = self._database.execute(
                "DELETE FROM tags WHERE name = ? AND repository_id = (SELECT id FROM repositories WHERE name = ?)",
                (tag, repository),
            ).rowcount
            self.refresh([repository])
            return bool(removed)

    def refresh(self, repositories: Iterable[str]) -> None:
        """Bring the sums of these repositories up to date; those that hold nothing any more go."""
        names = json.dumps(list(repositories))
        with self._database.transaction():
            self._database.execute(
                """
                UPDATE repositories SET (tag_count, size) = (
                  SELECT count(*), COALESCE(sum(m.size), 0) FROM tags t JOIN manifests m ON m.id = t.manifest_id
                  WHERE t.repository_id = repositories.id)
                WHERE name IN (SELECT value FROM json_each(?))
                """,
                (names,),
            )
            self._database.execute(
                """
                DELETE FROM repositories WHERE name IN (SELECT value FROM json_each(?))
                  AND NOT EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = repositories.id)
                """,
                (names,),
            )

    def refresh_all(self) -> None:
        self.refresh(row["name"] for row in self._database.all("SELECT name FROM repositories"))

    # Confirming, and sweeping what a complete synchronisation did not see

    def confirm_tag(self, repository: str, tag: str) -> None:
        """Mark the tag as seen by the current run."""
        self._database.execute(
            """
            UPDATE tags SET seen_run = (SELECT COALESCE(max(id), 0) FROM sync_runs)
            WHERE name = ? AND repository_id = (SELECT id FROM repositories WHERE name = ?)
            """,
            (tag, repository),
        )

    def sweep(self, run: int) -> int:
        """Remove what a complete run did not see, all at once. Returns the number of tags removed.

        Manifests go when no tag and no index needs them, unless they came during the run: the children of an
        index arrive before the index does.
        """
        with self._database.transaction():
            removed = self._database.execute("DELETE FROM tags WHERE seen_run < ?", (run,)).rowcount
            while self._sweep_manifests(run):
                continue
            self._database.execute(
                "DELETE FROM blobs WHERE NOT EXISTS (SELECT 1 FROM manifest_blobs b WHERE b.blob_id = blobs.id)"
            )
            self.refresh_all()
            return removed

    def _sweep_manifests(self, run: int) -> int:
        """The children of an index are free to go once it has gone."""
        return self._database.execute(
            """
            DELETE FROM manifests WHERE seen_run < ?
              AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.manifest_id = manifests.id)
              AND NOT EXISTS (
                SELECT 1 FROM children c JOIN manifests parent ON parent.id = c.manifest_id
                WHERE c.digest = manifests.digest AND parent.repository_id = manifests.repository_id)
            """,
            (run,),
        ).rowcount

    # Inner parts

    def _parameters(self, listing: Listing, names: tuple[str, ...], visible: Visible) -> dict:
        self._database.connection.create_function("is_visible", 1, visible or bool)
        ids = listing.filters.get("ids")
        parameters = {name: listing.filters.get(name) for name in names}
        return parameters | {
            "q": like(listing.filters.get("q")),
            "ids": None if ids is None else json.dumps(ids),
            "is_filtered": visible is not None,
        }

    def _ensure(self, repository: str) -> int:
        row = self._database.one(
            """
            INSERT INTO repositories (name) VALUES (?)
            ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id
            """,
            (repository,),
        )
        return row["id"]

    def _manifest_id(self, repository: str, digest: str) -> int | None:
        row = self._database.one(
            """
            SELECT m.id FROM manifests m JOIN repositories r ON r.id = m.repository_id
            WHERE r.name = ? AND m.digest = ?
            """,
            (repository, digest),
        )
        return row["id"] if row else None

    def _has_parent(self, repository: str, digest: str) -> bool:
        row = self._database.one(
            """
            SELECT 1 FROM children c JOIN manifests m ON m.id = c.manifest_id
            JOIN repositories r ON r.id = m.repository_id WHERE r.name = ? AND c.digest = ? LIMIT 1
            """,
            (repository, digest),
        )
        return row is not None

    def _save_parts(self, manifest_id: int, manifest: Manifest, config: ImageConfig | None) -> None:
        execute = self._database.execute
        execute(
            """
            INSERT INTO documents VALUES (?, ?, ?) ON CONFLICT (manifest_id) DO UPDATE
            SET raw = excluded.raw, config = COALESCE(excluded.config, config)
            """,
            (manifest_id, manifest.raw, config.raw if config else None),
        )
        execute("DELETE FROM children WHERE manifest_id = ?", (manifest_id,))
        for position, child in enumerate(manifest.children):
            execute(
                "INSERT INTO children VALUES (?, ?, ?, ?, ?, ?, ?)",
                (manifest_id, position, child.digest, child.media_type, child.size, child.platform)
                + (json.dumps(child.annotations),),
            )
        execute("DELETE FROM manifest_blobs WHERE manifest_id = ?", (manifest_id,))
        first = 0 if manifest.config else 1
        for position, blob in enumerate(manifest.blobs, start=first):
            row = self._database.one(
                """
                INSERT INTO blobs (digest, size) VALUES (?, ?)
                ON CONFLICT (digest) DO UPDATE SET size = excluded.size RETURNING id
                """,
                (blob.digest, blob.size),
            )
            execute(
                "INSERT INTO manifest_blobs VALUES (?, ?, ?, ?)", (manifest_id, position, row["id"], blob.media_type)
            )

    def _describe(self, manifest_id: int, manifest: Manifest, config: ImageConfig | None) -> None:
        """Platforms and time of creation. A configuration that was read before is not forgotten."""
        platforms = [c.platform for c in manifest.children if c.platform not in ("", "unknown/unknown")]
        if config and config.platform:
            platforms = [config.platform]
        self._database.execute(
            """
            UPDATE manifests SET created_at = COALESCE(:created_at, created_at),
              platforms = CASE WHEN :platforms = '[]' THEN platforms ELSE :platforms END
            WHERE id = :id
            """,
            {
                "id": manifest_id,
                "platforms": json.dumps(list(dict.fromkeys(platforms))),
                "created_at": config.created_at if config else None,
            },
        )

    def _self_and_above(self, manifest_id: int | None) -> list[int | None]:
        """The manifest, then every index that it is a part of."""
        return [row["id"] for row in self._database.all(_ABOVE + "SELECT id FROM above", {"id": manifest_id})]

    def _add_up(self, manifest_ids: list[int]) -> None:
        """The size, each blob once; an index has that of its parts, as far as they are known, and is as young."""
        for manifest_id in manifest_ids:
            self._database.execute(
                _BELOW
                + """
                UPDATE manifests SET
                  size = (SELECT COALESCE(sum(size), 0) FROM blobs WHERE id IN (
                    SELECT blob_id FROM manifest_blobs WHERE manifest_id IN (SELECT id FROM below))),
                  created_at = CASE WHEN kind <> 'index' THEN created_at ELSE (
                    SELECT max(m.created_at) FROM manifests m JOIN below ON below.id = m.id WHERE m.kind <> 'index') END
                WHERE id = :id
                """,
                {"id": manifest_id},
            )


def _repository(row: sqlite3.Row) -> Repository:
    return Repository(**dict(row))


def _tag(row: sqlite3.Row) -> Tag:
    return Tag(**dict(row) | {"platforms": tuple(json.loads(row["platforms"]))})
