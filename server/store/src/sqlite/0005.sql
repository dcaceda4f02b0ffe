-- Schema version 5: what the rules found is no longer kept: it is worked out from the facts, by the rules in force.

ALTER TABLE evidence DROP COLUMN judgement;
