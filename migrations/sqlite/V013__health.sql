-- See the migration of this name in migrations/postgres; times are microseconds since 1970.
CREATE TABLE health_changes (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    at        INTEGER NOT NULL,
    hub       TEXT NOT NULL,
    component TEXT NOT NULL,
    before    TEXT NOT NULL,
    status    TEXT NOT NULL,
    error     TEXT NOT NULL,
    UNIQUE (hub, component, at)
) STRICT;

CREATE INDEX health_changes_component ON health_changes (component, id);

CREATE TABLE error_logs (
    id       INTEGER PRIMARY KEY,
    hub      TEXT NOT NULL,
    level    TEXT NOT NULL,
    target   TEXT NOT NULL,
    template TEXT NOT NULL,
    message  TEXT NOT NULL,
    first_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL,
    count    INTEGER NOT NULL,
    UNIQUE (hub, level, target, template)
) STRICT;

CREATE INDEX error_logs_last_at ON error_logs (last_at, id);
