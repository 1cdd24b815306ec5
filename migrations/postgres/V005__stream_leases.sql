-- Which hub reads which stream. It only saves work: positions decide what is stored.
CREATE TABLE stream_leases (
    environment text NOT NULL,
    shard       integer NOT NULL,
    holder      uuid NOT NULL,
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (environment, shard)
);
