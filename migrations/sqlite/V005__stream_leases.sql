-- See the migration of this name in migrations/postgres; times are microseconds since 1970.
CREATE TABLE stream_leases (
    environment TEXT NOT NULL,
    shard       INTEGER NOT NULL,
    holder      TEXT NOT NULL,
    expires_at  INTEGER NOT NULL,
    PRIMARY KEY (environment, shard)
) STRICT, WITHOUT ROWID;
