-- Sandboxes that rest: a state more, and an operator's wish. A CHECK cannot be changed in SQLite: the table is made anew.

CREATE TABLE sandboxes_4 (
    id             TEXT PRIMARY KEY,
    user_id        TEXT UNIQUE REFERENCES users (id),  -- NULL: nobody's yet
    state          TEXT NOT NULL CHECK (state IN ('absent', 'creating', 'starting', 'ready', 'unhealthy', 'stopping',
                                                  'dozing', 'asleep', 'parked')),
    reason         TEXT NOT NULL,
    container_id   TEXT,
    image_id       TEXT,
    config_hash    TEXT,
    key_hash       TEXT,
    remove_wanted  INTEGER NOT NULL DEFAULT 0 CHECK (remove_wanted IN (0, 1)),
    retry_wanted   INTEGER NOT NULL DEFAULT 0 CHECK (retry_wanted IN (0, 1)),  -- of an operator
    rest_wanted    TEXT CHECK (rest_wanted IN ('doze', 'sleep', 'wake')),  -- of an operator
    parked_at      TEXT CHECK ((parked_at IS NULL) = (state <> 'parked')),
    parked_with    TEXT,  -- what it was to be made of: another image or profile is a reason to try again
    ooms           INTEGER NOT NULL DEFAULT 0,  -- how often something in it ran out of memory
    oom_at         TEXT,
    created_at     TEXT NOT NULL,
    changed_at     TEXT NOT NULL
) STRICT;
INSERT INTO sandboxes_4 (id, user_id, state, reason, container_id, image_id, config_hash, key_hash, remove_wanted,
                         retry_wanted, parked_at, parked_with, ooms, oom_at, created_at, changed_at)
SELECT id, user_id, state, reason, container_id, image_id, config_hash, key_hash, remove_wanted, retry_wanted,
       parked_at, parked_with, ooms, oom_at, created_at, changed_at
FROM sandboxes;
DROP TABLE sandboxes;
ALTER TABLE sandboxes_4 RENAME TO sandboxes;
