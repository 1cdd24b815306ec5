-- Where each journal is stored up to. `id` stands for the origin in `events`.
CREATE TABLE journal_positions (
    id         integer GENERATED ALWAYS AS IDENTITY UNIQUE,
    origin     uuid PRIMARY KEY,
    sequence   bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- What became of the messages of each journal, by source: moved in the transaction that moves the
-- position, so that it is exact.
CREATE TABLE ledger (
    origin    uuid NOT NULL,
    source    text NOT NULL,
    stored    bigint NOT NULL,
    duplicate bigint NOT NULL,
    rejected  bigint NOT NULL,
    PRIMARY KEY (origin, source)
);

-- (origin, sequence, ordinal) is an event's identity: the journal, the record in it, the place in
-- the record. No unique index is needed for it: the position says what is stored.
-- `attributes` is json, not jsonb: it keeps numbers and keys exactly as they came, and costs a
-- third to write.
CREATE TABLE events (
    origin        integer NOT NULL,
    sequence      bigint NOT NULL,
    ordinal       integer NOT NULL,
    received_at   timestamptz NOT NULL,
    occurred_at   timestamptz NOT NULL,
    source        text NOT NULL,
    kind          text NOT NULL,
    severity      text NOT NULL,
    environment   text NOT NULL,
    service       text NOT NULL,
    process       text,
    message       text NOT NULL,
    message_bytes bytea,
    stack_trace   text,
    attributes    json,
    priority      smallint,
    messages      integer NOT NULL,
    fingerprint   text
) PARTITION BY RANGE (received_at);

-- Rows arrive in the order of time, so a block range index finds a span of it at almost no cost.
CREATE INDEX events_times ON events USING brin (received_at, occurred_at);
-- Eight bytes of hash instead of the text: only faults' events are in it.
CREATE INDEX events_fingerprint ON events (hashtextextended(fingerprint, 0), occurred_at)
    WHERE fingerprint IS NOT NULL;

CREATE TABLE rejected (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    origin      integer NOT NULL,
    sequence    bigint NOT NULL,
    ordinal     integer NOT NULL,
    received_at timestamptz NOT NULL,
    source      text NOT NULL,
    reason      text NOT NULL,
    bytes       bytea NOT NULL,
    -- The message's true length; `bytes` holds at most its first MiB.
    length      bigint NOT NULL,
    messages    integer NOT NULL,
    replayed_at timestamptz
);

-- Counters are updated in place all the time: room for that on the page, and no index on what
-- changes.
CREATE TABLE faults (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    environment text NOT NULL,
    service     text NOT NULL,
    fingerprint text NOT NULL,
    kind        text NOT NULL,
    severity    text NOT NULL,
    title       text NOT NULL,
    -- The first event's message.
    example     text NOT NULL,
    count       bigint NOT NULL,
    first_seen  timestamptz NOT NULL,
    last_seen   timestamptz NOT NULL,
    UNIQUE (environment, service, fingerprint)
) WITH (fillfactor = 80);

CREATE TABLE metric_snapshots (
    taken_at timestamptz PRIMARY KEY,
    snapshot json NOT NULL
);
