-- Schema version 9: an authority that is renewed has several certificates, and its key one label.

CREATE TABLE authority_certificates (
    certificate BLOB PRIMARY KEY,
    label       TEXT NOT NULL,
    created_at  INTEGER NOT NULL, -- Unix seconds
    state       TEXT NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO authority_certificates SELECT certificate, label, created_at, state FROM authorities;

DROP TABLE authorities;
