-- Rejected messages that are stored again, written in the transaction that stores what became of
-- them: a replay that comes again, by another hub or after a crash, is known by it. A row may outlive
-- its rejected message: it is small, and nobody looks for it any more.
CREATE TABLE replayed_records (
    -- `id` and `received_at` of the message; with the time, since numbers may begin anew.
    rejected    bigint NOT NULL,
    received_at timestamptz NOT NULL,
    -- The record that took it in, as in `events`.
    origin      integer NOT NULL,
    sequence    bigint NOT NULL,
    PRIMARY KEY (rejected, received_at)
);
