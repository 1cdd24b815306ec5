-- See the migration of this name in migrations/postgres.
ALTER TABLE tickets ADD COLUMN issue_id TEXT;
ALTER TABLE tickets ADD COLUMN is_gone INTEGER NOT NULL DEFAULT 0;
