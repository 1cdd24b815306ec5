-- What is old is found by its age: PostgreSQL has had this from the beginning.
CREATE INDEX rejected_received_at ON rejected (received_at);
