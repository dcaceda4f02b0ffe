-- Schema version 16: authorities that an authority above has signed, and what that one says of the trust domain.

-- The certificates above, each having signed the one before, the last the root; empty: self-signed.
ALTER TABLE authority_certificates ADD COLUMN upstream BLOB NOT NULL DEFAULT x'';

CREATE TABLE upstream_bundle (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    content BLOB NOT NULL -- roots and JWT keys, as the journal has them
) STRICT;
