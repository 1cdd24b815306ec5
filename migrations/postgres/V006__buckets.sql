-- Who watches buckets, by the watch's name. The epoch counts who has held it: a watcher writes only
-- as long as it is the one that it was given.
CREATE TABLE bucket_watches (
    watch      text PRIMARY KEY,
    holder     uuid NOT NULL,
    epoch      bigint NOT NULL,
    expires_at timestamptz NOT NULL
);

-- How far a part of a bucket, the keys with a prefix, is compared.
CREATE TABLE bucket_places (
    id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    watch  text NOT NULL,
    bucket text NOT NULL,
    prefix text NOT NULL,
    -- `snapshot` or `watermark`.
    mode   text NOT NULL,
    -- Passes that were finished. Before the first one is, the snapshot is not complete.
    passes bigint NOT NULL,
    -- The last key that the pass under way has compared, as UTF-8; none before it has begun. With a
    -- watermark, the last key of all.
    cursor bytea,
    UNIQUE (watch, bucket, prefix, mode)
);

-- The snapshot: what was known of each object last. Keys are bytes, so that no collation changes
-- their order, which is that of listings.
CREATE TABLE bucket_objects (
    place       integer NOT NULL,
    key         bytea NOT NULL,
    size        bigint NOT NULL,
    etag        text NOT NULL,
    modified_at bigint NOT NULL,
    PRIMARY KEY (place, key)
);

-- The identities of changes that are stored as events: a change that is announced again, by another
-- hub or after a crash, is known by its own.
CREATE TABLE announced_changes (
    id        uuid PRIMARY KEY,
    stored_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX announced_changes_stored_at ON announced_changes USING brin (stored_at);
