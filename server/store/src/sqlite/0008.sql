-- Schema version 8: which keys are one machine's.

-- Names of AKs and EKs, with the EK beside which a TPM proved them. They outlive the node.
CREATE TABLE tpm_names (
    name TEXT PRIMARY KEY, -- nameAlg and digest; hex
    ek   TEXT NOT NULL     -- SHA-256 of the EK's SPKI; hex
) STRICT, WITHOUT ROWID;

-- What nodes proved. Where two have one AK, that of the node which is out counts, else of the one which came last.
INSERT OR IGNORE INTO tpm_names
    SELECT lower(hex(ak_name)), lower(hex(ek_sha256)) FROM agents
    WHERE length(ak_name) = 34 AND substr(ak_name, 1, 2) = x'000b' AND length(ek_sha256) = 32
    ORDER BY state IN ('retired', 'banned', 'suspended') DESC, attested_at DESC;
INSERT OR IGNORE INTO tpm_names
    SELECT json_extract(facts, '$.ek_name'), lower(hex(ek_sha256)) FROM agents
    WHERE json_valid(facts) AND length(json_extract(facts, '$.ek_name')) = 68
          AND json_extract(facts, '$.ek_name') GLOB '000b*' AND length(ek_sha256) = 32;

-- EKs that operators list as one machine's.
CREATE TABLE machine_eks (
    ek      TEXT PRIMARY KEY, -- as in inventory
    machine TEXT NOT NULL     -- one of them
) STRICT, WITHOUT ROWID;

ALTER TABLE inventory ADD COLUMN other_eks TEXT NOT NULL DEFAULT '[]'; -- JSON: ["EK",…]
