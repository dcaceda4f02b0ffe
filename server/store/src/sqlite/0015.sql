-- Schema version 17: the keys that servers below this one sign JWT-SVIDs with.

CREATE TABLE published_jwt_keys (
    key_id       TEXT PRIMARY KEY, -- as tokens name it (kid)
    public_key   BLOB NOT NULL,    -- SubjectPublicKeyInfo, DER
    publisher    TEXT NOT NULL,    -- SPIFFE ID
    agent        TEXT NOT NULL,    -- SPIFFE ID: through which the publisher's SVID was issued
    published_at INTEGER NOT NULL, -- Unix seconds
    expires_at   INTEGER NOT NULL  -- of the last token that it signs
) STRICT, WITHOUT ROWID;
