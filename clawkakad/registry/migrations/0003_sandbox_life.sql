-- The whole life of a sandbox. A CHECK cannot be changed in SQLite: the table is made anew.

CREATE TABLE sandboxes_3 (
    id             TEXT PRIMARY KEY,
    user_id        TEXT NOT NULL UNIQUE REFERENCES users (id),
    state          TEXT NOT NULL CHECK (state IN ('absent', 'creating', 'starting', 'ready', 'unhealthy', 'stopping',
                                                  'asleep', 'parked')),
    reason         TEXT NOT NULL,
    container_id   TEXT,
    image_id       TEXT,
    config_hash    TEXT,
    key_hash       TEXT,
    remove_wanted  INTEGER NOT NULL DEFAULT 0 CHECK (remove_wanted IN (0, 1)),
    retry_wanted   INTEGER NOT NULL DEFAULT 0 CHECK (retry_wanted IN (0, 1)),  -- of an operator
    parked_at      TEXT CHECK ((parked_at IS NULL) = (state <> 'parked')),
    parked_with    TEXT,  -- what it was to be made of: another image or profile is a reason to try again
    ooms           INTEGER NOT NULL DEFAULT 0,  -- how often something in it ran out of memory
    oom_at         TEXT,
    created_at     TEXT NOT NULL,
    changed_at     TEXT NOT NULL
) STRICT;
INSERT INTO sandboxes_3 (id, user_id, state, reason, container_id, image_id, config_hash, key_hash, remove_wanted,
                         created_at, changed_at)
SELECT id, user_id, state, reason, container_id, image_id, config_hash, key_hash, remove_wanted, created_at, changed_at
FROM sandboxes;
DROP TABLE sandboxes;
ALTER TABLE sandboxes_3 RENAME TO sandboxes;
