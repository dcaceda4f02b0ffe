-- Schema version 7: through which agents SVIDs were issued whose SPIFFE ID has a role (administrator, downstream server).

CREATE TABLE role_svids (
    serial     BLOB PRIMARY KEY, -- 16 bytes, big-endian
    agent      TEXT NOT NULL,
    issued_at  INTEGER NOT NULL, -- Unix seconds
    expires_at INTEGER NOT NULL  -- Unix seconds
) STRICT, WITHOUT ROWID;

CREATE INDEX role_svids_by_expiry ON role_svids (expires_at);
