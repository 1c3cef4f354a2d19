-- A spare was made for nobody; who claims it has to be told who they are, once.
ALTER TABLE sandboxes ADD COLUMN claimed INTEGER NOT NULL DEFAULT 0 CHECK (claimed IN (0, 1));
