-- How often each shape was met in each hour (of when it happened). Of a shape, not of a fault: so it
-- stays right when people merge and split faults, and costs these nothing. What happened before this
-- migration is not counted here: to count all events there are may take hours.
CREATE TABLE fault_hours (
    shape bigint NOT NULL,
    hour  timestamptz NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (shape, hour)
) WITH (fillfactor = 80);

-- What a search for a text looks through, in lower case: title, template and first message of each
-- shape, cut. Beside `faults` and `fault_shapes`, whose rows are written anew whenever they are met;
-- these change only when people merge and split. Short enough to stay in the row: no more than 1,900 bytes.
CREATE TABLE fault_texts (
    shape bigint PRIMARY KEY,
    -- As in `fault_shapes`.
    fault bigint NOT NULL,
    text  text NOT NULL
);

INSERT INTO fault_texts (shape, fault, text)
SELECT shape.id, shape.fault, lower(left(shape.title, 150) || E'\n' || left(replace(shape.template, E'\u0001', '*'), 150)
    || E'\n' || left(fault.example, 170))
FROM fault_shapes AS shape JOIN faults AS fault ON fault.id = shape.fault;

-- What people, or the tracker, say of a fault. `resolved_at` until it is open again, which dispatch
-- notices (`came_back_at`) before it does something about it.
ALTER TABLE faults ADD COLUMN resolved_at timestamptz;
ALTER TABLE faults ADD COLUMN came_back_at timestamptz;
ALTER TABLE faults ADD COLUMN muted_at timestamptz;
ALTER TABLE faults ADD COLUMN muted_by text;
-- None with `muted_at`: for ever.
ALTER TABLE faults ADD COLUMN muted_until timestamptz;
-- Counts these changes: a decision made before one is not written after it.
ALTER TABLE faults ADD COLUMN steered integer NOT NULL DEFAULT 0;

UPDATE faults SET resolved_at = coalesce(ticket.resolved_at, ticket.changed_at, now())
FROM tickets AS ticket
WHERE ticket.fault = faults.id AND ticket.incident = faults.incident AND ticket.is_done;
UPDATE faults SET came_back_at = last_seen WHERE last_seen > resolved_at;
