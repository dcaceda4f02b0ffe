-- Schema version 14: the keys that sign JWT-SVIDs.

CREATE TABLE jwt_keys (
    key_id     TEXT PRIMARY KEY, -- as tokens name it (kid)
    label      TEXT NOT NULL,    -- of the private key in the token
    public_key BLOB NOT NULL,    -- SubjectPublicKeyInfo, DER
    created_at INTEGER NOT NULL, -- Unix seconds
    expires_at INTEGER NOT NULL, -- of the last token that it signs
    state      TEXT NOT NULL
) STRICT, WITHOUT ROWID;
