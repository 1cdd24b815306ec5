-- The same tables as in migrations/postgres; times are microseconds since 1970.

CREATE TABLE journal_positions (
    id         INTEGER PRIMARY KEY,
    origin     TEXT NOT NULL UNIQUE,
    sequence   INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE ledger (
    origin    TEXT NOT NULL,
    source    TEXT NOT NULL,
    stored    INTEGER NOT NULL,
    duplicate INTEGER NOT NULL,
    rejected  INTEGER NOT NULL,
    PRIMARY KEY (origin, source)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    id            INTEGER PRIMARY KEY,
    origin        INTEGER NOT NULL,
    sequence      INTEGER NOT NULL,
    ordinal       INTEGER NOT NULL,
    received_at   INTEGER NOT NULL,
    occurred_at   INTEGER NOT NULL,
    source        TEXT NOT NULL,
    kind          TEXT NOT NULL,
    severity      TEXT NOT NULL,
    environment   TEXT NOT NULL,
    service       TEXT NOT NULL,
    process       TEXT,
    message       TEXT NOT NULL,
    message_bytes BLOB,
    stack_trace   TEXT,
    attributes    TEXT,
    priority      INTEGER,
    messages      INTEGER NOT NULL,
    fingerprint   TEXT
) STRICT;

CREATE INDEX events_fingerprint ON events (fingerprint, occurred_at) WHERE fingerprint IS NOT NULL;

CREATE TABLE rejected (
    id          INTEGER PRIMARY KEY,
    origin      INTEGER NOT NULL,
    sequence    INTEGER NOT NULL,
    ordinal     INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    source      TEXT NOT NULL,
    reason      TEXT NOT NULL,
    bytes       BLOB NOT NULL,
    -- The message's true length; `bytes` holds at most its first MiB.
    length      INTEGER NOT NULL,
    messages    INTEGER NOT NULL,
    replayed_at INTEGER
) STRICT;

CREATE TABLE faults (
    id          INTEGER PRIMARY KEY,
    environment TEXT NOT NULL,
    service     TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    kind        TEXT NOT NULL,
    severity    TEXT NOT NULL,
    title       TEXT NOT NULL,
    -- The first event's message.
    example     TEXT NOT NULL,
    count       INTEGER NOT NULL,
    first_seen  INTEGER NOT NULL,
    last_seen   INTEGER NOT NULL,
    UNIQUE (environment, service, fingerprint)
) STRICT;

CREATE TABLE metric_snapshots (
    taken_at INTEGER PRIMARY KEY,
    snapshot TEXT NOT NULL
) STRICT;
