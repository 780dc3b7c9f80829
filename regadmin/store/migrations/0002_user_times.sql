-- Apart from `users`, which is read at every request and changes seldom.
CREATE TABLE user_times (
    user_id INTEGER PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    signed_in_at INTEGER,
    used_at INTEGER
);

CREATE INDEX activity_by_actor ON activity (actor);
CREATE INDEX activity_by_object ON activity (object);
