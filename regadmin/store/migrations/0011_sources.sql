-- The file that decides about a row, as a path below the directory of the option `provision`; '' for what is made here.
ALTER TABLE users ADD COLUMN source TEXT NOT NULL DEFAULT '';
ALTER TABLE groups ADD COLUMN source TEXT NOT NULL DEFAULT '';
ALTER TABLE rules ADD COLUMN source TEXT NOT NULL DEFAULT '';
