-- How much each sandbox's volume takes, as it was seen last. `full_at`: since when the sandbox is stopped for it.

CREATE TABLE disks (
    sandbox_id  TEXT PRIMARY KEY REFERENCES sandboxes (id) ON DELETE CASCADE,
    bytes       INTEGER NOT NULL CHECK (bytes >= 0),
    inodes      INTEGER NOT NULL CHECK (inodes >= 0),
    cut         TEXT NOT NULL,  -- why there may be more than that; empty: there is not
    quota       INTEGER NOT NULL CHECK (quota >= 0),  -- in bytes, at that time; 0: none
    measured_at TEXT NOT NULL,
    warned      INTEGER NOT NULL CHECK (warned IN (0, 1)),
    unsure      INTEGER NOT NULL,  -- looks in a row that came to no end
    full_at     TEXT,
    grace_until TEXT,
    grace_share REAL NOT NULL
) STRICT;
