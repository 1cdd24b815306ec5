-- How components changed, the newest only. Each change once, however often it is written.
CREATE TABLE health_changes (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL,
    hub       text NOT NULL,
    component text NOT NULL,
    before    text NOT NULL,
    status    text NOT NULL,
    error     text NOT NULL,
    UNIQUE (hub, component, at)
);

CREATE INDEX health_changes_component ON health_changes (component, id);

-- What the program itself has logged as WARN or ERROR: lines that differ in numbers and names only
-- are one row. Those logged last are kept.
CREATE TABLE error_logs (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hub      text NOT NULL,
    level    text NOT NULL,
    -- The module that said it.
    target   text NOT NULL,
    template text NOT NULL,
    -- The last line of them.
    message  text NOT NULL,
    first_at timestamptz NOT NULL,
    last_at  timestamptz NOT NULL,
    count    bigint NOT NULL,
    UNIQUE (hub, level, target, template)
);

CREATE INDEX error_logs_last_at ON error_logs (last_at, id);
