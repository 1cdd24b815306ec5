-- Alerts: what the program tells people about itself. One is open for each kind, subject and hub; the
-- hub is empty where all hubs see the same.
CREATE TABLE alerts (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind           text NOT NULL,
    subject        text NOT NULL,
    hub            text NOT NULL,
    opened_by      text NOT NULL,
    cause          text NOT NULL,
    -- A page of the dashboard.
    link           text NOT NULL,
    since          timestamptz NOT NULL,
    opened_at      timestamptz NOT NULL,
    seen_at        timestamptz NOT NULL,
    -- Not told before then.
    tell_at        timestamptz NOT NULL,
    -- When it was told last, and how often it was.
    told_at        timestamptz,
    told           integer NOT NULL DEFAULT 0,
    silenced_until timestamptz,
    silenced_by    text,
    resolved_at    timestamptz,
    note           text,
    version        integer NOT NULL DEFAULT 0
);

CREATE UNIQUE INDEX alerts_open ON alerts (kind, subject, hub) WHERE resolved_at IS NULL;
CREATE INDEX alerts_resolved ON alerts (resolved_at) WHERE resolved_at IS NOT NULL;

-- What is to be told, through which channel: written in the transaction of the change that it is
-- about. Several that go out as one message share the number of that message, which is the token of
-- the first of them.
CREATE TABLE alert_deliveries (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert       bigint NOT NULL REFERENCES alerts (id) ON DELETE CASCADE,
    channel     text NOT NULL,
    what        text NOT NULL,
    cause       text NOT NULL,
    state       text NOT NULL DEFAULT 'waiting',
    token       uuid NOT NULL UNIQUE,
    message     uuid,
    attempts    integer NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL DEFAULT now(),
    not_before  timestamptz NOT NULL,
    holder      uuid,
    lease_until timestamptz,
    error       text,
    ended_at    timestamptz
);

CREATE INDEX alert_deliveries_due ON alert_deliveries (channel, id)
    WHERE state IN ('waiting', 'active');
CREATE INDEX alert_deliveries_alert ON alert_deliveries (alert, channel, id);
CREATE INDEX alert_deliveries_message ON alert_deliveries (message);
