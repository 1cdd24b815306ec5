-- The rules that made a fault of a change, one a line; empty for what is a fault by itself.
ALTER TABLE faults ADD COLUMN rule TEXT NOT NULL DEFAULT '';
