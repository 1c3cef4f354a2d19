-- Sandboxes move to another image when an operator says so, one by one, and not before.

-- The image that a sandbox is made of, whatever the tag names by now. NULL until it has been ready once.
ALTER TABLE sandboxes ADD COLUMN pinned TEXT;
UPDATE sandboxes SET pinned = image_id WHERE state <> 'parked';

CREATE TABLE upgrades (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    sandbox_id TEXT,  -- the only one that was asked for; NULL: all
    image_id   TEXT,  -- what they move to; NULL until it is begun
    state      TEXT NOT NULL CHECK (state IN ('wanted', 'running', 'done', 'failed')),
    reason     TEXT NOT NULL DEFAULT '',
    asked_at   TEXT NOT NULL,
    changed_at TEXT NOT NULL,
    CHECK (state IN ('wanted', 'failed') OR image_id IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX upgrades_open ON upgrades ((1)) WHERE state IN ('wanted', 'running');

CREATE TABLE upgrade_steps (
    upgrade_id INTEGER NOT NULL REFERENCES upgrades (id) ON DELETE CASCADE,
    sandbox_id TEXT NOT NULL REFERENCES sandboxes (id) ON DELETE CASCADE,
    state      TEXT NOT NULL CHECK (state IN ('waiting', 'keeping', 'trying', 'returning', 'done', 'failed',
                                              'skipped')),
    before     TEXT NOT NULL,  -- the image that it was pinned to
    awake      INTEGER NOT NULL DEFAULT 1 CHECK (awake IN (0, 1)),  -- whether it ran when it was taken in hand
    reason     TEXT NOT NULL DEFAULT '',
    changed_at TEXT NOT NULL,
    PRIMARY KEY (upgrade_id, sandbox_id)
) STRICT;
