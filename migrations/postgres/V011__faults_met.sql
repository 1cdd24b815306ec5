-- Which faults each hub has met lately, where there are several: so that each of them can show live
-- what all of them do. At most a row a second of each hub; after a minute nobody asks for it.
CREATE TABLE faults_met (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hub    uuid NOT NULL,
    at     timestamptz NOT NULL DEFAULT now(),
    faults bigint[] NOT NULL
);
