-- Schema version 11: the journal. Records of the first versions become its first events; the program moves them.

-- A row for each flush: the transactions that shared it.
CREATE TABLE journal (
    revision    INTEGER PRIMARY KEY, -- of the last transaction in it
    first_event INTEGER NOT NULL,    -- number of the first event in it, or of the next one
    events      INTEGER NOT NULL,
    at          INTEGER NOT NULL,    -- Unix seconds
    kinds       INTEGER NOT NULL,    -- which kinds of event are in it: bit n for kind n
    totals      TEXT NOT NULL,       -- JSON: [[kind, outcome, count],…] up to here
    chain       BLOB NOT NULL,       -- SHA-256 over the chain before, the revision (8 bytes, big-endian) and the payload
    payload     BLOB NOT NULL        -- docs/reference/journal.md
) STRICT;

-- Rows with verdicts or acts of operators are few among those with SVIDs.
CREATE INDEX journal_of_decisions ON journal (revision) WHERE kinds & 18 <> 0;

-- Events by their subject, but for those of SVIDs: they are many, and an index would cost a random page per SVID.
CREATE TABLE event_subjects (
    subject  TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    revision INTEGER NOT NULL, -- the row of the journal
    PRIMARY KEY (subject, sequence)
) STRICT, WITHOUT ROWID;

-- What administrators over TLS asked for, and a second one has to ask for as well.
CREATE TABLE admin_requests (
    node     TEXT NOT NULL,
    action   TEXT NOT NULL,
    requests TEXT NOT NULL, -- JSON: [["administrator","agent",issued at,asked at],…]
    PRIMARY KEY (node, action)
) STRICT, WITHOUT ROWID;

ALTER TABLE agents ADD COLUMN appraised_rules INTEGER NOT NULL DEFAULT 0; -- revision of the rules that judged it last
ALTER TABLE agents ADD COLUMN stale_at INTEGER;                           -- Unix seconds; NULL: never
ALTER TABLE evidence ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;      -- of the record that brought it
