-- Schema version 13: images that are assigned to machines, to be installed over the network.

CREATE TABLE image_assignments (
    ek              TEXT PRIMARY KEY, -- the endorsement key by which the operator named the machine
    attempt         INTEGER NOT NULL,
    image           TEXT NOT NULL,
    version         TEXT NOT NULL,
    chunks          INTEGER NOT NULL,
    manifest_url    TEXT NOT NULL,
    manifest_sha256 BLOB NOT NULL,
    disk            TEXT NOT NULL,    -- empty: the machine's only disk
    overwrite       INTEGER NOT NULL,
    baseline        TEXT NOT NULL,
    stage           TEXT NOT NULL,
    chunks_done     INTEGER NOT NULL,
    code            TEXT NOT NULL,    -- of a failure
    reason          TEXT NOT NULL,
    returns         INTEGER NOT NULL,
    assigned_at     INTEGER NOT NULL, -- Unix seconds
    since           INTEGER NOT NULL,
    restarted_in    INTEGER           -- the TPM's reset count before the restart
) STRICT, WITHOUT ROWID;

-- Rows with steps of installations are few among those with SVIDs.
CREATE INDEX journal_of_installations ON journal (revision) WHERE kinds & 32 <> 0;
