-- What lists of the activity are narrowed to; '' stands for no repository.
ALTER TABLE activity ADD COLUMN repository TEXT NOT NULL DEFAULT '';
UPDATE activity SET repository = CASE
    WHEN instr(object, '@') > 0 THEN substr(object, 1, instr(object, '@') - 1)
    WHEN instr(object, ':') > 0 THEN substr(object, 1, instr(object, ':') - 1)
    ELSE object END
WHERE event IN ('push', 'pull', 'delete', 'rule created', 'rule changed', 'rule deleted');

DROP INDEX activity_by_actor;
CREATE INDEX activity_by_actor ON activity (actor COLLATE NOCASE, at, event);
CREATE INDEX activity_by_event ON activity (event, at);
CREATE INDEX activity_by_repository ON activity (repository, at, event) WHERE repository <> '';

-- How often something happened in the quarter of an hour that begins at `at`: every time zone's days begin at one.
CREATE TABLE activity_counts (
    event TEXT NOT NULL,
    at INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (event, at)
) WITHOUT ROWID;
INSERT INTO activity_counts
SELECT event, at - at % 900, count(*) FROM activity
WHERE event = 'pull' OR (event = 'push' AND instr(object, '@') = 0)
GROUP BY 1, 2;

CREATE INDEX inbox_set_aside ON inbox (id)
WHERE applied_at IS NOT NULL AND body <> x'' AND outcome <> 'nothing to do';
