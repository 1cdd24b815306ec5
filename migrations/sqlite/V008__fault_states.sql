-- See the migration of this name in migrations/postgres; times are microseconds since 1970.
CREATE TABLE fault_hours (
    shape INTEGER NOT NULL,
    hour  INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (shape, hour)
) STRICT, WITHOUT ROWID;

CREATE TABLE fault_texts (
    shape INTEGER PRIMARY KEY,
    fault INTEGER NOT NULL,
    text  TEXT NOT NULL
) STRICT;

INSERT INTO fault_texts (shape, fault, text)
SELECT shape.id, shape.fault, lower(substr(shape.title, 1, 150) || char(10)
    || substr(replace(shape.template, char(1), '*'), 1, 150) || char(10)
    || substr(fault.example, 1, 170))
FROM fault_shapes AS shape JOIN faults AS fault ON fault.id = shape.fault;

ALTER TABLE faults ADD COLUMN resolved_at INTEGER;
ALTER TABLE faults ADD COLUMN came_back_at INTEGER;
ALTER TABLE faults ADD COLUMN muted_at INTEGER;
ALTER TABLE faults ADD COLUMN muted_by TEXT;
ALTER TABLE faults ADD COLUMN muted_until INTEGER;
ALTER TABLE faults ADD COLUMN steered INTEGER NOT NULL DEFAULT 0;

UPDATE faults SET resolved_at = coalesce(ticket.resolved_at, ticket.changed_at, ticket.created_at)
FROM tickets AS ticket
WHERE ticket.fault = faults.id AND ticket.incident = faults.incident AND ticket.is_done;
UPDATE faults SET came_back_at = last_seen WHERE last_seen > resolved_at;
