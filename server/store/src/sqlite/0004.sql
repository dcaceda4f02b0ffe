-- Schema version 4: what is kept of the lines of IMA lists stands in evidence_logs (kind 128), no longer in the facts. Nodes
-- send their list anew, from its first line on.

UPDATE evidence SET facts = json_set(facts, '$.ima', json('null')), ima = ''
    WHERE json_type(facts, '$.ima') = 'object';
UPDATE evidence SET earlier = json_set(earlier, '$.ima', json('null'))
    WHERE earlier <> '' AND json_type(earlier, '$.ima') = 'object';
DELETE FROM evidence_logs WHERE kind = 3;
