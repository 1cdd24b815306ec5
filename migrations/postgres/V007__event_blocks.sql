-- What blocks of neighbouring events hold: a search reads only those that may hold what it is after.
-- See actors/src/domain/words. A block holds the events of its origin from (first_sequence,
-- first_ordinal) to (last_sequence, last_ordinal) that were received from `received_from` to
-- `received_to`; these lie within the same ten seconds.
CREATE TABLE event_blocks (
    received_to    timestamptz NOT NULL,
    received_from  timestamptz NOT NULL,
    first_sequence bigint NOT NULL,
    last_sequence  bigint NOT NULL,
    origin         integer NOT NULL,
    first_ordinal  integer NOT NULL,
    last_ordinal   integer NOT NULL,
    events         integer NOT NULL,
    -- NULL: it may hold anything.
    signature      bytea
) PARTITION BY RANGE (received_to);

-- Random bits cannot be compressed, and are looked at in place.
ALTER TABLE event_blocks ALTER COLUMN signature SET STORAGE PLAIN;

-- No event of a block comes behind these in the order in which a search walks.
CREATE INDEX event_blocks_newest
    ON event_blocks (received_to, origin, last_sequence, last_ordinal);
-- Which block an event is in.
CREATE INDEX event_blocks_events ON event_blocks (origin, last_sequence, last_ordinal);

-- One partition for each of `events`, dropped with it.
DO $$
DECLARE
    partition record;
BEGIN
    FOR partition IN
        SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bound
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'events'::regclass
    LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF event_blocks %s',
            replace(partition.name, 'events_', 'event_blocks_'), partition.bound);
    END LOOP;
END $$;

-- Events that are stored already may hold anything.
INSERT INTO event_blocks
SELECT max(received_to), min(received_from), min(sequence), max(sequence), origin,
    (min(ARRAY[sequence, first_ordinal]))[2], (max(ARRAY[sequence, last_ordinal]))[2],
    sum(events), NULL
FROM (
    SELECT *, sum(events) OVER (PARTITION BY origin, span ORDER BY sequence) / 400 AS part
    FROM (
        SELECT origin, sequence, floor(extract(epoch FROM received_at) / 10) AS span,
            min(ordinal) AS first_ordinal, max(ordinal) AS last_ordinal, count(*) AS events,
            min(received_at) AS received_from, max(received_at) AS received_to
        FROM events GROUP BY 1, 2, 3
    ) AS record
) AS parts
GROUP BY origin, span, part;

-- A block's events are found by time. Rows of different lengths fill holes of pages before, so that
-- several spans of time in a range of pages find them more closely than one (PostgreSQL 14).
DROP INDEX events_times;
DO $$
BEGIN
    IF current_setting('server_version_num')::int >= 140000 THEN
        EXECUTE 'CREATE INDEX events_times ON events USING brin (
            received_at timestamptz_minmax_multi_ops (values_per_range = 16), occurred_at)
            WITH (pages_per_range = 64)';
    ELSE
        CREATE INDEX events_times ON events USING brin (received_at, occurred_at)
            WITH (pages_per_range = 64);
    END IF;
END $$;
