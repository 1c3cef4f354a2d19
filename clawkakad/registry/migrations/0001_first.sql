-- Times are UTC text, 2026-11-22T10:00:00.000Z, so that they sort and can be read with the sqlite3 shell.

CREATE TABLE users (
    id              TEXT PRIMARY KEY,
    name            TEXT,
    time_zone       TEXT NOT NULL,
    currency        TEXT NOT NULL,
    language        TEXT NOT NULL,
    country         TEXT,
    created_at      TEXT NOT NULL,
    last_inbound_at TEXT
) STRICT;

-- What stands for a person at a channel. A phone number alone is no key: it can be missing, change, or be recycled.
CREATE TABLE identifiers (
    kind     TEXT NOT NULL CHECK (kind IN ('wa_id', 'bsuid', 'parent_bsuid')),
    value    TEXT NOT NULL,
    user_id  TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    added_at TEXT NOT NULL,
    PRIMARY KEY (kind, value)
) STRICT;
CREATE INDEX identifiers_of_user ON identifiers (user_id);

CREATE TABLE sandboxes (
    id             TEXT PRIMARY KEY,
    user_id        TEXT NOT NULL UNIQUE REFERENCES users (id),
    state          TEXT NOT NULL CHECK (state IN ('absent', 'starting', 'ready', 'unhealthy')),
    reason         TEXT NOT NULL,
    container_id   TEXT,
    image_id       TEXT,
    config_hash    TEXT,
    key_hash       TEXT,
    remove_wanted  INTEGER NOT NULL DEFAULT 0 CHECK (remove_wanted IN (0, 1)),
    created_at     TEXT NOT NULL,
    changed_at     TEXT NOT NULL
) STRICT;

CREATE TABLE inbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    run_key     TEXT NOT NULL UNIQUE,  -- the gateway's idempotency key, and so its run id
    wamid       TEXT NOT NULL UNIQUE,
    user_id     TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind        TEXT NOT NULL,
    text        TEXT,
    raw         TEXT NOT NULL,
    reply_to    TEXT,
    forwarded   INTEGER NOT NULL CHECK (forwarded IN (0, 1)),
    sent_at     TEXT NOT NULL,
    received_at TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('received', 'running', 'answered', 'failed', 'ignored', 'refused')),
    attempt     INTEGER NOT NULL DEFAULT 0,
    prompt      TEXT,  -- what the agent was told, kept so that asking again is word for word the same
    changed_at  TEXT NOT NULL,
    reason      TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX inbox_waiting ON inbox (user_id, sent_at, id) WHERE state IN ('received', 'running');

CREATE TABLE outbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    key        TEXT NOT NULL UNIQUE,  -- travels as biz_opaque_callback_data and comes back in statuses
    source     TEXT NOT NULL UNIQUE,  -- what this message is for; makes adding it twice impossible
    origin     TEXT NOT NULL CHECK (origin IN ('reply', 'notice', 'reminder', 'heartbeat', 'late')),
    user_id    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    text       TEXT NOT NULL,
    state      TEXT NOT NULL
               CHECK (state IN ('queued', 'sending', 'sent', 'delivered', 'read', 'failed', 'ambiguous')),
    attempt    INTEGER NOT NULL DEFAULT 0,
    wamid      TEXT UNIQUE,
    not_before TEXT NOT NULL,
    created_at TEXT NOT NULL,
    changed_at TEXT NOT NULL,
    reason     TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX outbox_open ON outbox (user_id, id) WHERE state IN ('queued', 'sending', 'ambiguous');

CREATE TABLE reminders (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    key        TEXT NOT NULL UNIQUE,  -- of the caller: asking twice makes one
    user_id    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    due_at     TEXT NOT NULL,
    wall       TEXT NOT NULL,  -- the wall time that was meant, 2026-11-23 09:00
    zone       TEXT NOT NULL,
    text       TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('pending', 'fired', 'cancelled')),
    told       INTEGER NOT NULL DEFAULT 0 CHECK (told IN (0, 1)),  -- the agent knows that it was sent
    created_at TEXT NOT NULL,
    changed_at TEXT NOT NULL
) STRICT;
CREATE INDEX reminders_due ON reminders (due_at) WHERE state = 'pending';

CREATE TABLE heartbeats (
    user_id TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    next_at TEXT NOT NULL,
    last_at TEXT,
    outcome TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE usage (
    user_id        TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    day            TEXT NOT NULL,  -- UTC
    model          TEXT NOT NULL,
    calls          INTEGER NOT NULL,
    tokens_in      INTEGER NOT NULL,
    tokens_out     INTEGER NOT NULL,
    cost_micro_usd INTEGER NOT NULL,
    PRIMARY KEY (user_id, day, model)
) STRICT;
