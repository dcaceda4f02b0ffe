-- Schema version 3: evidence is kept, and policies.

-- The reason code for which a node that attested is no longer trusted; empty while it is.
ALTER TABLE agents ADD COLUMN distrust TEXT NOT NULL DEFAULT '';

-- Kept also for nodes that were refused or deleted: what comes next must follow it.
CREATE TABLE evidence (
    node      TEXT PRIMARY KEY,
    judged_at INTEGER NOT NULL, -- Unix seconds
    sighting  TEXT NOT NULL,    -- JSON, as all that follow
    file      TEXT NOT NULL,
    facts     TEXT NOT NULL,
    judgement TEXT NOT NULL,
    ima       TEXT NOT NULL,    -- or empty
    earlier   TEXT NOT NULL     -- or empty
) STRICT;

-- Append only, within one boot.
CREATE TABLE evidence_logs (
    node     TEXT NOT NULL,
    kind     INTEGER NOT NULL,
    position INTEGER NOT NULL,
    data     BLOB NOT NULL,
    PRIMARY KEY (node, kind, position)
) STRICT;

CREATE TABLE policy_files (
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,
    serial     INTEGER NOT NULL,
    payload    BLOB NOT NULL,
    signed     TEXT NOT NULL,
    applied_at INTEGER NOT NULL, -- Unix seconds
    in_force   INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
