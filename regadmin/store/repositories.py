"""The index: repositories, tags and manifests as the registry was last seen to hold them."""

from __future__ import annotations

import json
from collections.abc import Iterable

from regadmin.entities import ImageConfig, Manifest
from regadmin.store.repository_reading import RepositoryReader

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


class RepositoryStore(RepositoryReader):
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
                INSERT INTO tags
                  (repository_id, name, sort_key, manifest_id, digest_start, size, created_at, updated_at)
                SELECT r.id, :tag, natural_key(:tag), m.id, substr(m.digest, 1, 23), m.size, m.created_at, :now
                FROM repositories r JOIN manifests m ON m.repository_id = r.id
                WHERE r.name = :repository AND m.digest = :digest
                ON CONFLICT (repository_id, name) DO UPDATE SET manifest_id = excluded.manifest_id,
                  digest_start = excluded.digest_start, size = excluded.size, created_at = excluded.created_at,
                  updated_at = excluded.updated_at, pushed_at = NULL, pushed_by = ''
                WHERE tags.manifest_id <> excluded.manifest_id
                """,
                {"repository": repository, "tag": tag, "digest": digest, "now": self._database.now()},
            )
            self.confirm_tags(repository, [tag])

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

    def record_pull(self, repository: str, tag: str, digest: str, at: int) -> bool:
        """Count a pull for the manifest, for its tag (by digest: for all its tags) and for the repository.

        Clients that pull an index fetch one of its children next: that is not another pull of the repository.
        Tells whether it was one.
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
            return not values["is_child"]

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
                UPDATE repositories SET (tag_count, attached_count, size) = (
                  SELECT count(*) FILTER (WHERE NOT t.is_attached), count(*) FILTER (WHERE t.is_attached),
                    COALESCE(sum(m.size), 0) FROM tags t JOIN manifests m ON m.id = t.manifest_id
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

    def confirm_tags(self, repository: str, tags: Iterable[str]) -> None:
        """Mark the tags as seen by the current run."""
        self._database.execute(
            """
            UPDATE tags SET seen_run = (SELECT COALESCE(max(id), 0) FROM sync_runs)
            WHERE repository_id = (SELECT id FROM repositories WHERE name = ?)
              AND name IN (SELECT value FROM json_each(?))
            """,
            (repository, json.dumps(list(tags))),
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

    def _ensure(self, repository: str) -> int:
        row = self._database.one(
            """
            INSERT INTO repositories (name) VALUES (?)
            ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id
            """,
            (repository,),
        )
        return row["id"]

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
                ON CONFLICT (digest) DO UPDATE SET digest = excluded.digest RETURNING id
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
