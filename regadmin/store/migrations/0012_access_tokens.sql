-- A robot has no password: its hash is '', which fits nothing.
ALTER TABLE users ADD COLUMN is_robot INTEGER NOT NULL DEFAULT 0;

-- `digest` is the SHA-256 of the secret, which nobody keeps; `scope` a JSON list of [resource name, action].
CREATE TABLE access_tokens (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    scope TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER
);
CREATE INDEX access_tokens_by_user ON access_tokens (user_id);

-- Apart, because a use is no change that answers depend on.
CREATE TABLE access_token_uses (
    token_id INTEGER PRIMARY KEY REFERENCES access_tokens (id) ON DELETE CASCADE,
    used_at INTEGER NOT NULL,
    address TEXT NOT NULL
);

CREATE TRIGGER revision_by_access_token AFTER UPDATE ON access_tokens
BEGIN UPDATE revision SET number = number + 1; END;
CREATE TRIGGER revision_by_new_access_token AFTER INSERT ON access_tokens
BEGIN UPDATE revision SET number = number + 1; END;
CREATE TRIGGER revision_by_lost_access_token AFTER DELETE ON access_tokens
BEGIN UPDATE revision SET number = number + 1; END;
