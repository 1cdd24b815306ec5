-- See the migration of this name in migrations/postgres; times are microseconds since 1970.
CREATE TABLE replayed_records (
    rejected    INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    origin      INTEGER NOT NULL,
    sequence    INTEGER NOT NULL,
    PRIMARY KEY (rejected, received_at)
) STRICT, WITHOUT ROWID;
