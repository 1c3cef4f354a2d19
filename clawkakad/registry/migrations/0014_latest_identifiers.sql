-- Each reply asks where it goes: to the latest of a person's numbers, or ids. Now the index has them in that order.
DROP INDEX identifiers_of_user;
CREATE INDEX identifiers_of_user ON identifiers (user_id, kind, added_at DESC);
