-- Schema version 2: where nodes stand in their life, and the inventory.

ALTER TABLE agents ADD COLUMN state TEXT NOT NULL DEFAULT 'active';
ALTER TABLE agents ADD COLUMN since INTEGER NOT NULL DEFAULT 0; -- Unix seconds
ALTER TABLE agents ADD COLUMN approvals TEXT NOT NULL DEFAULT '[]'; -- JSON: [[uid, "EK SHA-256, hex", Unix seconds],…]
UPDATE agents SET since = attested_at;
UPDATE agents SET state = 'banned' WHERE banned <> 0;
ALTER TABLE agents DROP COLUMN banned;

CREATE TABLE inventory (
    ek           TEXT PRIMARY KEY, -- SHA-256 of the EK's SPKI, or its Name; hex
    serial       TEXT NOT NULL,
    owner        TEXT NOT NULL,
    labels       TEXT NOT NULL,    -- JSON: {"name":"value",…}
    expires_at   INTEGER,          -- Unix seconds; NULL: never
    class        TEXT,
    manufacturer TEXT,
    model        TEXT
) STRICT, WITHOUT ROWID;
