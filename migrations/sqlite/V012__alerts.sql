-- See the migration of this name in migrations/postgres; times are microseconds since 1970.
CREATE TABLE alerts (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    kind           TEXT NOT NULL,
    subject        TEXT NOT NULL,
    hub            TEXT NOT NULL,
    opened_by      TEXT NOT NULL,
    cause          TEXT NOT NULL,
    link           TEXT NOT NULL,
    since          INTEGER NOT NULL,
    opened_at      INTEGER NOT NULL,
    seen_at        INTEGER NOT NULL,
    tell_at        INTEGER NOT NULL,
    told_at        INTEGER,
    told           INTEGER NOT NULL DEFAULT 0,
    silenced_until INTEGER,
    silenced_by    TEXT,
    resolved_at    INTEGER,
    note           TEXT,
    version        INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE UNIQUE INDEX alerts_open ON alerts (kind, subject, hub) WHERE resolved_at IS NULL;
CREATE INDEX alerts_resolved ON alerts (resolved_at) WHERE resolved_at IS NOT NULL;

CREATE TABLE alert_deliveries (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    alert       INTEGER NOT NULL REFERENCES alerts (id) ON DELETE CASCADE,
    channel     TEXT NOT NULL,
    what        TEXT NOT NULL,
    cause       TEXT NOT NULL,
    state       TEXT NOT NULL DEFAULT 'waiting',
    token       TEXT NOT NULL UNIQUE,
    message     TEXT,
    attempts    INTEGER NOT NULL DEFAULT 0,
    created_at  INTEGER NOT NULL,
    not_before  INTEGER NOT NULL,
    holder      TEXT,
    lease_until INTEGER,
    error       TEXT,
    ended_at    INTEGER
) STRICT;

CREATE INDEX alert_deliveries_due ON alert_deliveries (channel, id)
    WHERE state IN ('waiting', 'active');
CREATE INDEX alert_deliveries_alert ON alert_deliveries (alert, channel, id);
CREATE INDEX alert_deliveries_message ON alert_deliveries (message);
