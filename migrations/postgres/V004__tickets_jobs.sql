-- What was decided about a fault, and at which count: met since then, it is looked at again.
ALTER TABLE faults ADD COLUMN decided_count bigint NOT NULL DEFAULT 0;
ALTER TABLE faults ADD COLUMN decision text NOT NULL DEFAULT '';
-- Look again then, though nothing happens.
ALTER TABLE faults ADD COLUMN decide_at timestamptz;
-- Its newest ticket's number; 0 before there is one.
ALTER TABLE faults ADD COLUMN incident integer NOT NULL DEFAULT 0;
-- What was there before is no news.
UPDATE faults SET decided_count = count;
-- The few whose ticket a storm holds back.
ALTER TABLE faults ADD COLUMN held_at timestamptz;
CREATE INDEX faults_held ON faults (environment, count DESC) WHERE held_at IS NOT NULL;

CREATE TABLE tickets (
    fault           bigint NOT NULL REFERENCES faults (id),
    incident        integer NOT NULL,
    -- The label by which it is found in the tracker.
    locator         text NOT NULL UNIQUE,
    key             text,
    is_dry_run      boolean NOT NULL DEFAULT false,
    status          text NOT NULL DEFAULT '',
    is_done         boolean NOT NULL DEFAULT false,
    resolution      text NOT NULL DEFAULT '',
    resolved_at     timestamptz,
    -- When it was changed last, by the tracker's clock: what is older is no news.
    changed_at      timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    commented_at    timestamptz NOT NULL DEFAULT now(),
    commented_count bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (fault, incident)
);

CREATE INDEX tickets_key ON tickets (key);

-- One row an intent. The unique key is what makes one ticket of one fault.
CREATE TABLE jobs (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    fault       bigint NOT NULL,
    incident    integer NOT NULL,
    action      text NOT NULL,
    mark        text NOT NULL,
    environment text NOT NULL,
    state       text NOT NULL,
    due_at      timestamptz NOT NULL,
    rule        text NOT NULL,
    attempts    integer NOT NULL DEFAULT 0,
    searches    integer NOT NULL DEFAULT 0,
    -- Since then it may have been done without our hearing of it.
    unknown_at  timestamptz,
    holder      uuid,
    lease_until timestamptz,
    request     json NOT NULL,
    response    json,
    error       text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (fault, incident, action, mark),
    FOREIGN KEY (fault, incident) REFERENCES tickets (fault, incident)
);

CREATE INDEX jobs_due ON jobs (due_at, id) WHERE state IN ('waiting', 'delayed', 'unknown');
CREATE INDEX jobs_active ON jobs (lease_until) WHERE state = 'active';
CREATE INDEX jobs_state ON jobs (state, id);
-- For the budget of new tickets.
CREATE INDEX jobs_created ON jobs (environment, created_at) WHERE action = 'create';

-- What was given up, with what the tracker had against it.
CREATE TABLE job_failures (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT now(),
    job      bigint NOT NULL REFERENCES jobs (id),
    error    text NOT NULL,
    problems json NOT NULL,
    request  json NOT NULL
);

CREATE INDEX job_failures_job ON job_failures (job);

ALTER TABLE audit_trail ADD COLUMN fault bigint;
ALTER TABLE audit_trail ADD COLUMN job bigint;
CREATE INDEX audit_trail_fault ON audit_trail (fault, id) WHERE fault IS NOT NULL;
CREATE INDEX audit_trail_job ON audit_trail (job, id) WHERE job IS NOT NULL;

-- More new faults than an environment's budget of tickets: one ticket for all of them.
CREATE TABLE storms (
    fault       bigint PRIMARY KEY REFERENCES faults (id),
    environment text NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT now(),
    ended_at    timestamptz
);

CREATE UNIQUE INDEX storms_open ON storms (environment) WHERE ended_at IS NULL;

-- Hubs that work at this store; they share what may be asked of the tracker.
CREATE TABLE hubs (
    id      uuid PRIMARY KEY,
    seen_at timestamptz NOT NULL
);

CREATE TABLE switches (
    name  text PRIMARY KEY,
    is_on boolean NOT NULL
);
