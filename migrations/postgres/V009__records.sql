-- Lists of jobs by queue, by environment and by time, with what counting them needs, so that neither
-- reads the requests.
CREATE INDEX jobs_action ON jobs (action, id) INCLUDE (state);
CREATE INDEX jobs_environment ON jobs (environment, id) INCLUDE (action, state);
CREATE INDEX jobs_created_at ON jobs (created_at) INCLUDE (action, state);

-- Somebody is about to replay it until then: two people do not at the same time.
ALTER TABLE rejected ADD COLUMN replay_until timestamptz;
CREATE INDEX rejected_source ON rejected (source, id);
-- Reasons may be longer than an index takes.
CREATE INDEX rejected_reason ON rejected (hashtextextended(reason, 0), id);
CREATE INDEX rejected_unreplayed ON rejected (id) WHERE replayed_at IS NULL;
CREATE INDEX rejected_received_at ON rejected USING brin (received_at);

CREATE INDEX audit_trail_who ON audit_trail (who, id);
CREATE INDEX audit_trail_action ON audit_trail (action, id);
CREATE INDEX audit_trail_subject ON audit_trail (subject, id);
CREATE INDEX audit_trail_at ON audit_trail (at);
-- How jobs ended, day by day.
CREATE INDEX audit_trail_endings ON audit_trail (at) INCLUDE (action, job)
    WHERE action IN ('job.complete', 'job.give_up', 'job.discard');

-- What people should know, written in the transaction of the fact. Whether it is read is the whole
-- team's affair. Only the newest are kept.
CREATE TABLE notifications (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT now(),
    severity  text NOT NULL,
    component text NOT NULL,
    title     text NOT NULL,
    body      text NOT NULL,
    -- A page of the dashboard.
    link      text,
    read_at   timestamptz,
    read_by   text
);

CREATE INDEX notifications_unread ON notifications (id) WHERE read_at IS NULL;
CREATE INDEX notifications_severity ON notifications (severity, id);

-- Events by the day on which they were received, in UTC: counted in the transaction that stores
-- them, so that it is exact.
CREATE TABLE daily_statistics (
    day         date NOT NULL,
    environment text NOT NULL,
    service     text NOT NULL,
    kind        text NOT NULL,
    severity    text NOT NULL,
    source      text NOT NULL,
    events      bigint NOT NULL,
    messages    bigint NOT NULL,
    PRIMARY KEY (day, environment, service, kind, severity, source)
) WITH (fillfactor = 80);

INSERT INTO daily_statistics (day, environment, service, kind, severity, source, events, messages)
SELECT (received_at AT TIME ZONE 'UTC')::date, environment, service, kind, severity, source,
    count(*), sum(messages)
FROM events GROUP BY 1, 2, 3, 4, 5, 6;
