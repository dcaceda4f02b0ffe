-- Schema version 1.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE entries (
    id                         TEXT PRIMARY KEY,
    spiffe_id                  TEXT NOT NULL,
    parent_id                  TEXT NOT NULL,
    selectors                  TEXT NOT NULL,   -- JSON: [["type","value"],…], sorted
    x509_svid_ttl              INTEGER NOT NULL, -- seconds
    jwt_svid_ttl               INTEGER NOT NULL, -- seconds
    federates_with             TEXT NOT NULL,   -- JSON: ["trust domain",…]
    admin                      INTEGER NOT NULL,
    downstream                 INTEGER NOT NULL,
    expires_at                 INTEGER,          -- Unix seconds; NULL: never
    dns_names                  TEXT NOT NULL,   -- JSON: ["name",…]
    revision                   INTEGER NOT NULL,
    store_svid                 INTEGER NOT NULL,
    hint                       TEXT NOT NULL,
    created_at                 INTEGER NOT NULL, -- Unix seconds
    disable_x509_svid_prefetch INTEGER NOT NULL,
    jwt_svid_include_jti       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE agents (
    id                 TEXT PRIMARY KEY,
    attestation_type   TEXT NOT NULL,
    ek_sha256          BLOB,
    ak_name            BLOB NOT NULL,
    serial             BLOB,             -- 16 bytes, big-endian
    expires_at         INTEGER,          -- Unix seconds
    next_serial        BLOB,
    next_expires_at    INTEGER,
    selectors          TEXT NOT NULL,   -- as in entries
    banned             INTEGER NOT NULL,
    can_reattest       INTEGER NOT NULL,
    agent_version      TEXT NOT NULL,
    facts              TEXT NOT NULL,   -- JSON
    attested_at        INTEGER NOT NULL, -- Unix seconds
    CHECK ((serial IS NULL) = (expires_at IS NULL)),
    CHECK ((next_serial IS NULL) = (next_expires_at IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE authorities (
    label       TEXT PRIMARY KEY,
    certificate BLOB NOT NULL,
    created_at  INTEGER NOT NULL,
    state       TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE records (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    kind     INTEGER NOT NULL,
    subject  TEXT NOT NULL,
    outcome  INTEGER NOT NULL,
    code     TEXT NOT NULL,
    detail   TEXT NOT NULL
) STRICT;

-- SVID intents (kind 2) are left out: they are many, and an index over their subjects would cost a random page
-- per SVID.
CREATE INDEX records_by_subject ON records (subject, sequence) WHERE kind <> 2;

-- Intents whose outcome is not recorded yet; a row for each commit that wrote intents.
CREATE TABLE pending_intents (
    first INTEGER PRIMARY KEY REFERENCES records (sequence),
    last  INTEGER NOT NULL
) STRICT;

CREATE TABLE totals (
    kind    INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    count   INTEGER NOT NULL,
    PRIMARY KEY (kind, outcome)
) STRICT, WITHOUT ROWID;
