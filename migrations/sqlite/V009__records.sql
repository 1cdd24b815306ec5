-- See the migration of this name in migrations/postgres; times are microseconds since 1970.
CREATE INDEX jobs_action ON jobs (action, id, state);
CREATE INDEX jobs_environment ON jobs (environment, id, action, state);
CREATE INDEX jobs_created_at ON jobs (created_at, action, state);

ALTER TABLE rejected ADD COLUMN replay_until INTEGER;
CREATE INDEX rejected_source ON rejected (source, id);
CREATE INDEX rejected_reason ON rejected (reason, id);
CREATE INDEX rejected_unreplayed ON rejected (id) WHERE replayed_at IS NULL;

CREATE INDEX audit_trail_who ON audit_trail (who, id);
CREATE INDEX audit_trail_action ON audit_trail (action, id);
CREATE INDEX audit_trail_subject ON audit_trail (subject, id);
CREATE INDEX audit_trail_at ON audit_trail (at);
CREATE INDEX audit_trail_endings ON audit_trail (at, action, job)
    WHERE action IN ('job.complete', 'job.give_up', 'job.discard');

CREATE TABLE notifications (
    id        INTEGER PRIMARY KEY,
    at        INTEGER NOT NULL,
    severity  TEXT NOT NULL,
    component TEXT NOT NULL,
    title     TEXT NOT NULL,
    body      TEXT NOT NULL,
    link      TEXT,
    read_at   INTEGER,
    read_by   TEXT
) STRICT;

CREATE INDEX notifications_unread ON notifications (id) WHERE read_at IS NULL;
CREATE INDEX notifications_severity ON notifications (severity, id);

-- Days as text: 2026-11-22.
CREATE TABLE daily_statistics (
    day         TEXT NOT NULL,
    environment TEXT NOT NULL,
    service     TEXT NOT NULL,
    kind        TEXT NOT NULL,
    severity    TEXT NOT NULL,
    source      TEXT NOT NULL,
    events      INTEGER NOT NULL,
    messages    INTEGER NOT NULL,
    PRIMARY KEY (day, environment, service, kind, severity, source)
) STRICT, WITHOUT ROWID;

INSERT INTO daily_statistics (day, environment, service, kind, severity, source, events, messages)
SELECT date(received_at / 1000000, 'unixepoch'), environment, service, kind, severity, source,
    count(*), sum(messages)
FROM events GROUP BY 1, 2, 3, 4, 5, 6;
