-- Lists of tags are read in the order of versions, which `natural_key` (regadmin/store/natural.py) makes.
ALTER TABLE tags ADD COLUMN sort_key TEXT NOT NULL DEFAULT '';
UPDATE tags SET sort_key = natural_key(name);

-- Signatures, attestations and lists of referrers, whose tags are made of the digest of what they are about.
ALTER TABLE tags ADD COLUMN is_attached INTEGER NOT NULL GENERATED ALWAYS AS (
    substr(name, 1, 7) = 'sha256-' AND length(name) >= 71 AND substr(name, 8, 64) NOT GLOB '*[^0-9a-f]*'
    AND substr(name, 72, 1) IN ('', '.')
) VIRTUAL;
CREATE INDEX tags_by_sort_key ON tags (repository_id, is_attached, sort_key, name);
CREATE INDEX tags_by_push ON tags (repository_id, is_attached, pushed_at);

ALTER TABLE repositories ADD COLUMN attached_count INTEGER NOT NULL DEFAULT 0;
UPDATE repositories SET (tag_count, attached_count) = (
    SELECT count(*) FILTER (WHERE NOT is_attached), count(*) FILTER (WHERE is_attached)
    FROM tags WHERE tags.repository_id = repositories.id);
