-- See the migration of this name in migrations/postgres; times are microseconds since 1970, days are
-- text: 2026-11-22.
CREATE TABLE job_statistics (
    day         TEXT NOT NULL,
    environment TEXT NOT NULL,
    action      TEXT NOT NULL,
    outcome     TEXT NOT NULL,
    count       INTEGER NOT NULL,
    PRIMARY KEY (day, environment, action, outcome)
) STRICT, WITHOUT ROWID;

INSERT INTO job_statistics (day, environment, action, outcome, count)
SELECT date(audit.at / 1000000, 'unixepoch'), job.environment, job.action,
    CASE audit.action WHEN 'job.complete' THEN 'completed' WHEN 'job.give_up' THEN 'dead'
        ELSE 'discarded' END,
    count(*)
FROM audit_trail AS audit JOIN jobs AS job ON job.id = audit.job
WHERE audit.action IN ('job.complete', 'job.give_up', 'job.discard')
GROUP BY 1, 2, 3, 4;

-- Here a day stays in `events` while it is `leaving` or `archived`, and is deleted bit by bit.
CREATE TABLE gone_days (
    id         TEXT PRIMARY KEY,
    day        TEXT NOT NULL,
    part       INTEGER NOT NULL,
    stage      TEXT NOT NULL,
    file       TEXT,
    -- The last of its events; what comes later has a higher id, for this one is deleted last.
    through    INTEGER NOT NULL,
    events     INTEGER NOT NULL DEFAULT 0,
    bytes      INTEGER NOT NULL DEFAULT 0,
    sha256     TEXT NOT NULL DEFAULT '',
    kept_in    TEXT,
    restored   INTEGER NOT NULL DEFAULT 0,
    began_at   INTEGER NOT NULL,
    dropped_at INTEGER,
    UNIQUE (day, part)
) STRICT;

CREATE INDEX gone_days_open ON gone_days (began_at) WHERE stage <> 'dropped';

CREATE TABLE restored_days (
    archive     TEXT PRIMARY KEY,
    day         TEXT NOT NULL,
    file        TEXT NOT NULL,
    events      INTEGER NOT NULL,
    restored    INTEGER NOT NULL,
    until       INTEGER NOT NULL,
    restored_at INTEGER NOT NULL
) STRICT;

CREATE TABLE retention_lease (
    id         INTEGER PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    holder     TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE retention_runs (
    id         INTEGER PRIMARY KEY,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER NOT NULL,
    report     TEXT NOT NULL
) STRICT;
