-- How jobs ended, by day (in UTC): counted in the transaction of the end, so that jobs and the audit
-- trail may be forgotten.
CREATE TABLE job_statistics (
    day         date NOT NULL,
    environment text NOT NULL,
    action      text NOT NULL,
    outcome     text NOT NULL,
    count       bigint NOT NULL,
    PRIMARY KEY (day, environment, action, outcome)
) WITH (fillfactor = 80);

INSERT INTO job_statistics (day, environment, action, outcome, count)
SELECT (audit.at AT TIME ZONE 'UTC')::date, job.environment, job.action,
    CASE audit.action WHEN 'job.complete' THEN 'completed' WHEN 'job.give_up' THEN 'dead'
        ELSE 'discarded' END,
    count(*)
FROM audit_trail AS audit JOIN jobs AS job ON job.id = audit.job
WHERE audit.action IN ('job.complete', 'job.give_up', 'job.discard')
GROUP BY 1, 2, 3, 4;

-- Days whose events have left `events`, or are about to. What comes late for such a day leaves again,
-- as its next part. The stages: `leaving` (its partitions are tables of their own, gone_events_… and
-- gone_event_blocks_…, that nobody writes to), `archived` (the file is complete), `dropped`.
CREATE TABLE gone_days (
    id          uuid PRIMARY KEY,
    day         date NOT NULL,
    part        integer NOT NULL,
    stage       text NOT NULL,
    -- The archive's name, without its directory; NULL where none is wanted.
    file        text,
    events      bigint NOT NULL DEFAULT 0,
    bytes       bigint NOT NULL DEFAULT 0,
    sha256      text NOT NULL DEFAULT '',
    -- Its events are in this later archive too, for it was restored when that one was made.
    kept_in     uuid,
    -- So many of its events had been brought back from archives.
    restored    bigint NOT NULL DEFAULT 0,
    began_at    timestamptz NOT NULL DEFAULT now(),
    dropped_at  timestamptz,
    UNIQUE (day, part)
);

CREATE INDEX gone_days_open ON gone_days (began_at) WHERE stage <> 'dropped';

-- Archives whose events are in `events` again, until then.
CREATE TABLE restored_days (
    archive     uuid PRIMARY KEY,
    day         date NOT NULL,
    file        text NOT NULL,
    -- Of the archive, and of these how many are back.
    events      bigint NOT NULL,
    restored    bigint NOT NULL,
    until       timestamptz NOT NULL,
    restored_at timestamptz NOT NULL DEFAULT now()
);

-- Which hub drops and archives. It only saves work.
CREATE TABLE retention_lease (
    id         integer PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    holder     uuid NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE TABLE retention_runs (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_at timestamptz NOT NULL,
    ended_at   timestamptz NOT NULL,
    report     json NOT NULL
);
