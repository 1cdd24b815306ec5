-- What blocks of neighbouring events hold; see migrations/postgres/V007.
CREATE TABLE event_blocks (
    received_to    INTEGER NOT NULL,
    origin         INTEGER NOT NULL,
    last_sequence  INTEGER NOT NULL,
    last_ordinal   INTEGER NOT NULL,
    received_from  INTEGER NOT NULL,
    first_sequence INTEGER NOT NULL,
    first_ordinal  INTEGER NOT NULL,
    -- The ids of its events lie between these.
    first_event    INTEGER NOT NULL,
    last_event     INTEGER NOT NULL,
    events         INTEGER NOT NULL,
    -- NULL: it may hold anything.
    signature      BLOB
) STRICT;

CREATE INDEX event_blocks_newest
    ON event_blocks (received_to, origin, last_sequence, last_ordinal, received_from);
CREATE INDEX event_blocks_events ON event_blocks (origin, last_sequence, last_ordinal);

-- Events that are stored already may hold anything.
INSERT INTO event_blocks
SELECT max(received_to), origin, max(sequence),
    max(last_ordinal) FILTER (WHERE is_last), min(received_from), min(sequence),
    max(first_ordinal) FILTER (WHERE is_first), min(first_event), max(last_event), sum(events), NULL
FROM (
    SELECT *,
        sequence = min(sequence) OVER (PARTITION BY origin, span, part) AS is_first,
        sequence = max(sequence) OVER (PARTITION BY origin, span, part) AS is_last
    FROM (
        SELECT *, sum(events) OVER (PARTITION BY origin, span ORDER BY sequence) / 400 AS part
        FROM (
            SELECT origin, sequence,
                (received_at - ((received_at % 10000000) + 10000000) % 10000000) / 10000000 AS span,
                min(ordinal) AS first_ordinal, max(ordinal) AS last_ordinal, count(*) AS events,
                min(received_at) AS received_from, max(received_at) AS received_to,
                min(id) AS first_event, max(id) AS last_event
            FROM events GROUP BY 1, 2, 3
        )
    )
)
GROUP BY origin, span, part;
