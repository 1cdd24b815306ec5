-- See the migration of this name in migrations/postgres; times are microseconds since 1970.
ALTER TABLE faults ADD COLUMN decided_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE faults ADD COLUMN decision TEXT NOT NULL DEFAULT '';
ALTER TABLE faults ADD COLUMN decide_at INTEGER;
ALTER TABLE faults ADD COLUMN incident INTEGER NOT NULL DEFAULT 0;
UPDATE faults SET decided_count = count;
ALTER TABLE faults ADD COLUMN held_at INTEGER;
CREATE INDEX faults_held ON faults (environment, count DESC) WHERE held_at IS NOT NULL;

CREATE TABLE tickets (
    fault           INTEGER NOT NULL REFERENCES faults (id),
    incident        INTEGER NOT NULL,
    locator         TEXT NOT NULL UNIQUE,
    key             TEXT,
    is_dry_run      INTEGER NOT NULL DEFAULT 0,
    status          TEXT NOT NULL DEFAULT '',
    is_done         INTEGER NOT NULL DEFAULT 0,
    resolution      TEXT NOT NULL DEFAULT '',
    resolved_at     INTEGER,
    changed_at      INTEGER,
    created_at      INTEGER NOT NULL,
    commented_at    INTEGER NOT NULL,
    commented_count INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (fault, incident)
) STRICT;

CREATE INDEX tickets_key ON tickets (key);

CREATE TABLE jobs (
    id          INTEGER PRIMARY KEY,
    fault       INTEGER NOT NULL,
    incident    INTEGER NOT NULL,
    action      TEXT NOT NULL,
    mark        TEXT NOT NULL,
    environment TEXT NOT NULL,
    state       TEXT NOT NULL,
    due_at      INTEGER NOT NULL,
    rule        TEXT NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    searches    INTEGER NOT NULL DEFAULT 0,
    unknown_at  INTEGER,
    holder      TEXT,
    lease_until INTEGER,
    request     TEXT NOT NULL,
    response    TEXT,
    error       TEXT NOT NULL DEFAULT '',
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    UNIQUE (fault, incident, action, mark),
    FOREIGN KEY (fault, incident) REFERENCES tickets (fault, incident)
) STRICT;

CREATE INDEX jobs_due ON jobs (due_at, id) WHERE state IN ('waiting', 'delayed', 'unknown');
CREATE INDEX jobs_active ON jobs (lease_until) WHERE state = 'active';
CREATE INDEX jobs_state ON jobs (state, id);
CREATE INDEX jobs_created ON jobs (environment, created_at) WHERE action = 'create';

CREATE TABLE job_failures (
    id       INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    job      INTEGER NOT NULL REFERENCES jobs (id),
    error    TEXT NOT NULL,
    problems TEXT NOT NULL,
    request  TEXT NOT NULL
) STRICT;

CREATE INDEX job_failures_job ON job_failures (job);

ALTER TABLE audit_trail ADD COLUMN fault INTEGER;
ALTER TABLE audit_trail ADD COLUMN job INTEGER;
CREATE INDEX audit_trail_fault ON audit_trail (fault, id) WHERE fault IS NOT NULL;
CREATE INDEX audit_trail_job ON audit_trail (job, id) WHERE job IS NOT NULL;

CREATE TABLE storms (
    fault       INTEGER PRIMARY KEY REFERENCES faults (id),
    environment TEXT NOT NULL,
    started_at  INTEGER NOT NULL,
    ended_at    INTEGER
) STRICT;

CREATE UNIQUE INDEX storms_open ON storms (environment) WHERE ended_at IS NULL;

CREATE TABLE switches (
    name  TEXT PRIMARY KEY,
    is_on INTEGER NOT NULL
) STRICT;
