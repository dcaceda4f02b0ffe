-- Schema version 10: who wrote an entry. One that an administrator over TLS wrote leads to no role.

ALTER TABLE entries ADD COLUMN over_tls INTEGER NOT NULL DEFAULT 1;

-- Of entries from before, the records say who wrote them: where a process on the admin socket created one, and nobody else
-- wrote it. Of whom nothing is known, it is not assumed. Kind 4 is what operators did.
UPDATE entries SET over_tls = 0
WHERE EXISTS (
    SELECT 1 FROM records
    WHERE kind <> 2 AND kind = 4 AND subject = entries.id AND detail LIKE '%"act":"entry-created"%'
) AND NOT EXISTS (
    SELECT 1 FROM records
    WHERE kind <> 2 AND kind = 4 AND subject = entries.id
        AND (detail LIKE '%"act":"entry-created"%' OR detail LIKE '%"act":"entry-updated"%')
        AND detail NOT LIKE '%"by":"uid:%' AND detail NOT LIKE '%"by":"local"%'
);
