-- Schema version 6: the last EK certificate of each EK that was verified, with its intermediates. It is kept for as long as the
-- store: what a machine leaves out of a claim is judged all the same.

CREATE TABLE ek_certificates (
    ek          TEXT PRIMARY KEY, -- SHA-256 of the EK's SPKI; hex
    certificate TEXT NOT NULL     -- JSON
) STRICT, WITHOUT ROWID;

-- What nodes proved last has those that were believed.
INSERT OR IGNORE INTO ek_certificates
    SELECT json_extract(facts, '$.tpm.ek_sha256'),
           json_object('certificate', json_extract(file, '$.ek_certificate'),
                       'intermediates', json(coalesce(json_extract(file, '$.ek_chain'), '[]')))
    FROM evidence
    WHERE json_type(facts, '$.tpm.certificate') = 'object' AND json_type(file, '$.ek_certificate') = 'text'
          AND json_type(facts, '$.tpm.ek_sha256') = 'text';
