-- Sight is computed once for all repositories, and again only for those that came since: `born` is the `arrivals` of
-- then. After a departure it is computed anew, because ids are used again.
ALTER TABLE revision ADD COLUMN arrivals INTEGER NOT NULL DEFAULT 1;
ALTER TABLE revision ADD COLUMN departures INTEGER NOT NULL DEFAULT 1;
ALTER TABLE repositories ADD COLUMN born INTEGER NOT NULL DEFAULT 1;
CREATE INDEX repositories_by_birth ON repositories (born, name);
CREATE TRIGGER repository_came AFTER INSERT ON repositories BEGIN
    UPDATE revision SET arrivals = arrivals + 1;
    UPDATE repositories SET born = (SELECT arrivals FROM revision) WHERE id = new.id;
END;
CREATE TRIGGER repository_went AFTER DELETE ON repositories BEGIN
    UPDATE revision SET departures = departures + 1;
END;

-- '' for a name without a namespace.
ALTER TABLE repositories ADD COLUMN namespace TEXT NOT NULL GENERATED ALWAYS AS (
    substr(name, 1, max(instr(name, '/') - 1, 0))
) VIRTUAL;
CREATE INDEX repositories_by_namespace ON repositories (namespace);
CREATE INDEX repositories_by_tags ON repositories (tag_count, attached_count);
CREATE INDEX repositories_by_size ON repositories (size);
CREATE INDEX repositories_by_pulls ON repositories (pull_count);
CREATE INDEX repositories_by_push ON repositories (last_pushed_at);

-- What lists of tags are ordered by stands beside them, because a page must not join all manifests of a repository.
ALTER TABLE tags ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tags ADD COLUMN created_at INTEGER;
UPDATE tags SET (size, created_at) = (SELECT size, created_at FROM manifests WHERE manifests.id = tags.manifest_id);
CREATE TRIGGER tag_came AFTER INSERT ON tags BEGIN
    UPDATE tags SET (size, created_at) = (SELECT size, created_at FROM manifests WHERE id = new.manifest_id)
    WHERE id = new.id;
END;
CREATE TRIGGER tag_moved AFTER UPDATE OF manifest_id ON tags BEGIN
    UPDATE tags SET (size, created_at) = (SELECT size, created_at FROM manifests WHERE id = new.manifest_id)
    WHERE id = new.id;
END;
CREATE TRIGGER manifest_described AFTER UPDATE OF size, created_at ON manifests
WHEN new.size IS NOT old.size OR new.created_at IS NOT old.created_at BEGIN
    UPDATE tags SET size = new.size, created_at = new.created_at WHERE manifest_id = new.id;
END;
CREATE INDEX tags_by_size ON tags (repository_id, is_attached, size);
CREATE INDEX tags_by_creation ON tags (repository_id, is_attached, created_at);
CREATE INDEX tags_by_pulls ON tags (repository_id, is_attached, pull_count);
-- For the tags of all repositories, with what tells whether somebody may see them.
CREATE INDEX all_tags_by_sort_key ON tags (sort_key, repository_id);
CREATE INDEX all_tags_by_size ON tags (size, repository_id);
CREATE INDEX all_tags_by_pulls ON tags (pull_count, repository_id);
CREATE INDEX all_tags_by_update ON tags (updated_at, repository_id);
CREATE INDEX manifests_by_digest ON manifests (digest);

-- Which repository holds which blob, in how many of its manifests: kept with every change, so that the storage of
-- all repositories is known without reading a million manifests.
CREATE TABLE holdings (
    repository_id INTEGER NOT NULL,
    blob_id INTEGER NOT NULL,
    uses INTEGER NOT NULL,
    PRIMARY KEY (repository_id, blob_id)
) WITHOUT ROWID;
CREATE INDEX holdings_by_blob ON holdings (blob_id);
INSERT INTO holdings
SELECT m.repository_id, b.blob_id, count(*) FROM manifest_blobs b JOIN manifests m ON m.id = b.manifest_id GROUP BY 1, 2;

-- `holders` is the number of repositories; `stored` counts each blob once, `shared` of it has more than one holder.
ALTER TABLE blobs ADD COLUMN holders INTEGER NOT NULL DEFAULT 0;
ALTER TABLE repositories ADD COLUMN stored INTEGER NOT NULL DEFAULT 0;
ALTER TABLE repositories ADD COLUMN shared INTEGER NOT NULL DEFAULT 0;
UPDATE blobs SET holders = (SELECT count(*) FROM holdings WHERE blob_id = blobs.id);
UPDATE repositories SET (stored, shared) = (
    SELECT COALESCE(sum(b.size), 0), COALESCE(sum(b.size) FILTER (WHERE b.holders > 1), 0)
    FROM holdings h JOIN blobs b ON b.id = h.blob_id WHERE h.repository_id = repositories.id);
CREATE INDEX repositories_by_storage ON repositories (stored);

CREATE TRIGGER blob_used AFTER INSERT ON manifest_blobs BEGIN
    INSERT INTO holdings SELECT repository_id, new.blob_id, 1 FROM manifests WHERE id = new.manifest_id
    ON CONFLICT (repository_id, blob_id) DO UPDATE SET uses = uses + 1;
END;
CREATE TRIGGER blob_left AFTER DELETE ON manifest_blobs BEGIN
    UPDATE holdings SET uses = uses - 1 WHERE blob_id = old.blob_id
      AND repository_id = (SELECT repository_id FROM manifests WHERE id = old.manifest_id);
    DELETE FROM holdings WHERE uses = 0 AND blob_id = old.blob_id
      AND repository_id = (SELECT repository_id FROM manifests WHERE id = old.manifest_id);
END;
-- A cascade comes when the manifest has gone, too late to tell whose blobs those were.
CREATE TRIGGER manifest_goes BEFORE DELETE ON manifests BEGIN
    DELETE FROM manifest_blobs WHERE manifest_id = old.id;
END;
CREATE TRIGGER holding_came AFTER INSERT ON holdings BEGIN
    UPDATE blobs SET holders = holders + 1 WHERE id = new.blob_id;
    UPDATE repositories SET stored = stored + (SELECT size FROM blobs WHERE id = new.blob_id),
      shared = shared + (SELECT CASE WHEN holders > 1 THEN size ELSE 0 END FROM blobs WHERE id = new.blob_id)
    WHERE id = new.repository_id;
    UPDATE repositories SET shared = shared + (SELECT size FROM blobs WHERE id = new.blob_id)
    WHERE id = (SELECT repository_id FROM holdings WHERE blob_id = new.blob_id AND repository_id <> new.repository_id)
      AND (SELECT holders FROM blobs WHERE id = new.blob_id) = 2;
END;
CREATE TRIGGER holding_went AFTER DELETE ON holdings BEGIN
    UPDATE repositories SET stored = stored - (SELECT size FROM blobs WHERE id = old.blob_id),
      shared = shared - (SELECT CASE WHEN holders > 1 THEN size ELSE 0 END FROM blobs WHERE id = old.blob_id)
    WHERE id = old.repository_id;
    UPDATE blobs SET holders = holders - 1 WHERE id = old.blob_id;
    UPDATE repositories SET shared = shared - (SELECT size FROM blobs WHERE id = old.blob_id)
    WHERE id = (SELECT repository_id FROM holdings WHERE blob_id = old.blob_id LIMIT 1)
      AND (SELECT holders FROM blobs WHERE id = old.blob_id) = 1;
END;

-- What one process found out and all of them show, as JSON.
CREATE TABLE findings (
    name TEXT PRIMARY KEY,
    at INTEGER NOT NULL,
    value TEXT NOT NULL
) WITHOUT ROWID;
