-- See the migration of this name in migrations/postgres; times are microseconds since 1970.
CREATE TABLE bucket_watches (
    watch      TEXT PRIMARY KEY,
    holder     TEXT NOT NULL,
    epoch      INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE bucket_places (
    id     INTEGER PRIMARY KEY,
    watch  TEXT NOT NULL,
    bucket TEXT NOT NULL,
    prefix TEXT NOT NULL,
    mode   TEXT NOT NULL,
    passes INTEGER NOT NULL,
    cursor BLOB,
    UNIQUE (watch, bucket, prefix, mode)
) STRICT;

CREATE TABLE bucket_objects (
    place       INTEGER NOT NULL,
    key         BLOB NOT NULL,
    size        INTEGER NOT NULL,
    etag        TEXT NOT NULL,
    modified_at INTEGER NOT NULL,
    PRIMARY KEY (place, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE announced_changes (
    id        BLOB PRIMARY KEY,
    stored_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX announced_changes_stored_at ON announced_changes (stored_at);
