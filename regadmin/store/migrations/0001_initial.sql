CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    login TEXT NOT NULL COLLATE NOCASE UNIQUE,
    name TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('admin', 'manager', 'user')),
    is_blocked INTEGER NOT NULL DEFAULT 0,
    must_change_password INTEGER NOT NULL DEFAULT 0,
    description TEXT NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL
);

CREATE TABLE groups (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL COLLATE NOCASE UNIQUE,
    description TEXT NOT NULL DEFAULT ''
);

INSERT INTO groups (id, name, description) VALUES (1, 'default', 'Everybody who is in no other group');

CREATE TABLE memberships (
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    group_id INTEGER NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    PRIMARY KEY (user_id, group_id)
) WITHOUT ROWID;
CREATE INDEX memberships_by_group ON memberships (group_id);

CREATE TABLE rules (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    user_id INTEGER REFERENCES users (id) ON DELETE CASCADE,
    group_id INTEGER REFERENCES groups (id) ON DELETE CASCADE,
    audience TEXT CHECK (audience IN ('registered', 'everyone')),
    resource_type TEXT NOT NULL,
    resource_name TEXT NOT NULL,
    action TEXT NOT NULL,
    is_disabled INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    CHECK ((user_id IS NOT NULL) + (group_id IS NOT NULL) + (audience IS NOT NULL) = 1)
);
CREATE UNIQUE INDEX rules_unique ON rules (
    COALESCE(user_id, 0), COALESCE(group_id, 0), COALESCE(audience, ''), resource_type, resource_name, action
);
CREATE INDEX rules_by_user ON rules (user_id);
CREATE INDEX rules_by_group ON rules (group_id);
CREATE INDEX rules_by_audience ON rules (audience);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    address TEXT NOT NULL,
    user_agent TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_end ON sessions (expires_at);

-- The index: what is known of the registry's content. `seen_run` is the synchronisation during or after
-- which a row was last confirmed; numbers, not clocks, tell what a complete pass did not see.
CREATE TABLE repositories (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    tag_count INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL DEFAULT 0,
    pull_count INTEGER NOT NULL DEFAULT 0,
    last_pulled_at INTEGER,
    last_pushed_at INTEGER,
    last_pushed_by TEXT NOT NULL DEFAULT ''
);

CREATE TABLE manifests (
    id INTEGER PRIMARY KEY,
    repository_id INTEGER NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    kind TEXT NOT NULL,
    artifact_type TEXT NOT NULL DEFAULT '',
    config_digest TEXT NOT NULL DEFAULT '',
    size INTEGER NOT NULL,
    platforms TEXT NOT NULL DEFAULT '[]',
    created_at INTEGER,
    pushed_at INTEGER,
    pushed_by TEXT NOT NULL DEFAULT '',
    pull_count INTEGER NOT NULL DEFAULT 0,
    last_pulled_at INTEGER,
    seen_run INTEGER NOT NULL DEFAULT 0,
    UNIQUE (repository_id, digest)
);

-- Apart from `manifests`, so that lists do not read them.
CREATE TABLE documents (
    manifest_id INTEGER PRIMARY KEY REFERENCES manifests (id) ON DELETE CASCADE,
    raw BLOB NOT NULL,
    config BLOB
);

CREATE TABLE children (
    manifest_id INTEGER NOT NULL REFERENCES manifests (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size INTEGER NOT NULL,
    platform TEXT NOT NULL,
    annotations TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (manifest_id, position)
) WITHOUT ROWID;
CREATE INDEX children_by_digest ON children (digest);

CREATE TABLE blobs (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL
);

-- Position 0 is the configuration, the layers follow from 1.
CREATE TABLE manifest_blobs (
    manifest_id INTEGER NOT NULL REFERENCES manifests (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    blob_id INTEGER NOT NULL REFERENCES blobs (id),
    media_type TEXT NOT NULL,
    PRIMARY KEY (manifest_id, position)
) WITHOUT ROWID;
CREATE INDEX manifest_blobs_by_blob ON manifest_blobs (blob_id);

CREATE TABLE tags (
    id INTEGER PRIMARY KEY,
    repository_id INTEGER NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    manifest_id INTEGER NOT NULL REFERENCES manifests (id) ON DELETE CASCADE,
    pushed_at INTEGER,
    pushed_by TEXT NOT NULL DEFAULT '',
    updated_at INTEGER NOT NULL,
    pull_count INTEGER NOT NULL DEFAULT 0,
    last_pulled_at INTEGER,
    seen_run INTEGER NOT NULL DEFAULT 0,
    UNIQUE (repository_id, name)
);
CREATE INDEX tags_by_manifest ON tags (manifest_id);

-- Notifications in the order of their arrival. What was applied stays for a while, without its body,
-- so that a duplicate is recognised.
CREATE TABLE inbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    body BLOB NOT NULL,
    posted_by TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    applied_at INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    outcome TEXT NOT NULL DEFAULT ''
);
CREATE INDEX inbox_waiting ON inbox (id) WHERE applied_at IS NULL;
CREATE INDEX inbox_applied ON inbox (applied_at) WHERE applied_at IS NOT NULL;

CREATE TABLE activity (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    event TEXT NOT NULL,
    object TEXT NOT NULL,
    address TEXT NOT NULL,
    details TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX activity_by_time ON activity (at);

CREATE TABLE sync_runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    trigger TEXT NOT NULL,
    state TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    beat_at INTEGER NOT NULL,
    finished_at INTEGER,
    repositories_total INTEGER NOT NULL DEFAULT 0,
    repositories_done INTEGER NOT NULL DEFAULT 0,
    tags INTEGER NOT NULL DEFAULT 0,
    added INTEGER NOT NULL DEFAULT 0,
    updated INTEGER NOT NULL DEFAULT 0,
    removed INTEGER NOT NULL DEFAULT 0,
    errors TEXT NOT NULL DEFAULT '[]'
);
CREATE UNIQUE INDEX sync_runs_one_running ON sync_runs (state) WHERE state = 'running';
