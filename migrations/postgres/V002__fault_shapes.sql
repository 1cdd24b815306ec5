-- Which fault each shape belongs to. Most shapes are faults of their own; similar ones are gathered,
-- and people merge, split and pin them. A row is never changed but by such a lesson.
CREATE TABLE fault_shapes (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    environment text NOT NULL,
    service     text NOT NULL,
    fingerprint text NOT NULL,
    fault       bigint NOT NULL REFERENCES faults (id),
    title       text NOT NULL,
    -- The masked message, U+0001 for each variable; empty where the identity is no message.
    template    text NOT NULL,
    -- new, similar, merged, split or pinned; `detail` says to what, or where the difference was.
    why         text NOT NULL,
    detail      text NOT NULL,
    count       bigint NOT NULL,
    first_seen  timestamptz NOT NULL,
    last_seen   timestamptz NOT NULL,
    UNIQUE (environment, service, fingerprint)
) WITH (fillfactor = 80);

CREATE INDEX fault_shapes_fault ON fault_shapes (fault);

INSERT INTO fault_shapes (environment, service, fingerprint, fault, title, template, why, detail,
    count, first_seen, last_seen)
SELECT environment, service, fingerprint, id, title, '', 'new', '', count, first_seen, last_seen
FROM faults ORDER BY id;

-- A shape that was split off founds a fault of its own; so does the next one, if that is split too.
ALTER TABLE faults DROP CONSTRAINT faults_environment_service_fingerprint_key;
-- The latest event's message, beside the first one's.
ALTER TABLE faults ADD COLUMN latest text NOT NULL DEFAULT '';
-- Set when people merged it; its shapes and counts are there now.
ALTER TABLE faults ADD COLUMN merged_into bigint REFERENCES faults (id);

-- Who did what. Lessons change which fault a shape belongs to: whoever remembers that must look
-- again when there is a newer one.
CREATE TABLE audit_trail (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT now(),
    who       text NOT NULL,
    action    text NOT NULL,
    subject   text NOT NULL,
    details   json NOT NULL,
    is_lesson boolean NOT NULL DEFAULT false
);

CREATE INDEX audit_trail_lessons ON audit_trail (id) WHERE is_lesson;
