-- Schema version 12: the journal has the changes of each record beside its events, so that others can follow it.

-- What stands beside the journal and is a part of the state: the texts of policies, baselines and lists, by their SHA-256.
CREATE TABLE bodies (
    sha256 BLOB PRIMARY KEY,
    body   BLOB NOT NULL
) STRICT;

-- Of the evidence, as the verdict names it; NULL for what is older.
ALTER TABLE evidence ADD COLUMN sha256 BLOB;
