-- A spare's session holds a rehearsal, or a part of one: whoever connects next lets it begin anew.
ALTER TABLE sandboxes ADD COLUMN rehearsing INTEGER NOT NULL DEFAULT 0 CHECK (rehearsing IN (0, 1));
