-- SQLite cannot drop a constraint: the table is made anew. A shape that was split off founds a fault
-- of its own; so does the next one, if that is split too.
CREATE TABLE new_faults (
    id          INTEGER PRIMARY KEY,
    environment TEXT NOT NULL,
    service     TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    kind        TEXT NOT NULL,
    severity    TEXT NOT NULL,
    title       TEXT NOT NULL,
    -- The first event's message, and the latest one's.
    example     TEXT NOT NULL,
    latest      TEXT NOT NULL DEFAULT '',
    count       INTEGER NOT NULL,
    first_seen  INTEGER NOT NULL,
    last_seen   INTEGER NOT NULL,
    -- Set when people merged it; its shapes and counts are there now.
    merged_into INTEGER REFERENCES faults (id)
) STRICT;

INSERT INTO new_faults (id, environment, service, fingerprint, kind, severity, title, example,
    count, first_seen, last_seen)
SELECT id, environment, service, fingerprint, kind, severity, title, example, count, first_seen,
    last_seen
FROM faults;
DROP TABLE faults;
ALTER TABLE new_faults RENAME TO faults;

-- Which fault each shape belongs to. Most shapes are faults of their own; similar ones are gathered,
-- and people merge, split and pin them. A row is never changed but by such a lesson.
CREATE TABLE fault_shapes (
    id          INTEGER PRIMARY KEY,
    environment TEXT NOT NULL,
    service     TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    fault       INTEGER NOT NULL REFERENCES faults (id),
    title       TEXT NOT NULL,
    -- The masked message, U+0001 for each variable; empty where the identity is no message.
    template    TEXT NOT NULL,
    -- new, similar, merged, split or pinned; `detail` says to what, or where the difference was.
    why         TEXT NOT NULL,
    detail      TEXT NOT NULL,
    count       INTEGER NOT NULL,
    first_seen  INTEGER NOT NULL,
    last_seen   INTEGER NOT NULL,
    UNIQUE (environment, service, fingerprint)
) STRICT;

CREATE INDEX fault_shapes_fault ON fault_shapes (fault);

INSERT INTO fault_shapes (environment, service, fingerprint, fault, title, template, why, detail,
    count, first_seen, last_seen)
SELECT environment, service, fingerprint, id, title, '', 'new', '', count, first_seen, last_seen
FROM faults ORDER BY id;

-- Who did what. Lessons change which fault a shape belongs to: whoever remembers that must look
-- again when there is a newer one.
CREATE TABLE audit_trail (
    id        INTEGER PRIMARY KEY,
    at        INTEGER NOT NULL,
    who       TEXT NOT NULL,
    action    TEXT NOT NULL,
    subject   TEXT NOT NULL,
    details   TEXT NOT NULL,
    is_lesson INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX audit_trail_lessons ON audit_trail (id) WHERE is_lesson;
