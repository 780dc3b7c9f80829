-- Written now and then only; 0 for sessions from before it was.
ALTER TABLE sessions ADD COLUMN seen_at INTEGER NOT NULL DEFAULT 0;
