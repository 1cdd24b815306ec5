-- The ticket's number in the tracker. It stays when the ticket is moved to another project and gets
-- another key; a copy of the ticket has the same labels, and another number. NULL until it is known.
ALTER TABLE tickets ADD COLUMN issue_id text;
-- It was deleted in the tracker, or hidden from us: its fault has no ticket, and gets a new one.
ALTER TABLE tickets ADD COLUMN is_gone boolean NOT NULL DEFAULT false;
