-- States that the first schema did not know. A CHECK cannot be changed in SQLite: both tables are made anew.

CREATE TABLE inbox_2 (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    run_key     TEXT NOT NULL UNIQUE,  -- the gateway's idempotency key, and so its run id
    wamid       TEXT NOT NULL UNIQUE,
    user_id     TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind        TEXT NOT NULL,
    text        TEXT,
    raw         TEXT NOT NULL,
    media_id    TEXT,  -- Meta keeps what it stands for 7 days
    reply_to    TEXT,
    forwarded   INTEGER NOT NULL CHECK (forwarded IN (0, 1)),
    sent_at     TEXT NOT NULL,
    received_at TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('received', 'running', 'answered', 'failed', 'parked', 'ignored',
                                               'refused', 'limited')),
    turn        INTEGER,  -- the message that leads the turn in which this one is answered; its key and prompt count
    attempt     INTEGER NOT NULL DEFAULT 0,
    prompt      TEXT,  -- what the agent was told, kept so that asking again is word for word the same
    changed_at  TEXT NOT NULL,
    reason      TEXT NOT NULL DEFAULT ''
) STRICT;
INSERT INTO inbox_2 (id, run_key, wamid, user_id, kind, text, raw, reply_to, forwarded, sent_at, received_at, state,
                     turn, attempt, prompt, changed_at, reason)
SELECT id, run_key, wamid, user_id, kind, text, raw, reply_to, forwarded, sent_at, received_at, state,
       iif(attempt > 0, id, NULL), attempt, prompt, changed_at, reason
FROM inbox;
DROP TABLE inbox;
ALTER TABLE inbox_2 RENAME TO inbox;
CREATE INDEX inbox_waiting ON inbox (user_id, sent_at, id) WHERE state IN ('received', 'running');
CREATE INDEX inbox_of_user ON inbox (user_id, received_at);

CREATE TABLE outbox_2 (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    key        TEXT NOT NULL UNIQUE,  -- travels as biz_opaque_callback_data and comes back in statuses
    source     TEXT NOT NULL UNIQUE,  -- what this message is for; makes adding it twice impossible
    origin     TEXT NOT NULL CHECK (origin IN ('reply', 'notice', 'reminder', 'heartbeat', 'late')),
    user_id    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    text       TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('queued', 'sending', 'sent', 'delivered', 'read', 'failed',
                                              'ambiguous', 'held', 'dropped')),
    hold       TEXT CHECK (hold IN ('window', 'unknown') AND state = 'held' OR hold IS NULL),
    attempt    INTEGER NOT NULL DEFAULT 0,
    unknowns   INTEGER NOT NULL DEFAULT 0,  -- sends whose outcome was not known: each may be a double
    wamid      TEXT UNIQUE,
    not_before TEXT NOT NULL,
    created_at TEXT NOT NULL,
    sent_at    TEXT,
    changed_at TEXT NOT NULL,
    reason     TEXT NOT NULL DEFAULT ''
) STRICT;
INSERT INTO outbox_2 (id, key, source, origin, user_id, text, state, attempt, unknowns, wamid, not_before, created_at,
                      sent_at, changed_at, reason)
SELECT id, key, source, origin, user_id, text, state, attempt, iif(state = 'ambiguous', 1, 0), wamid, not_before,
       created_at, iif(state IN ('sent', 'delivered', 'read'), changed_at, NULL), changed_at, reason
FROM outbox;
DROP TABLE outbox;
ALTER TABLE outbox_2 RENAME TO outbox;
CREATE INDEX outbox_open ON outbox (user_id, id) WHERE state IN ('queued', 'sending', 'ambiguous');
CREATE INDEX outbox_held ON outbox (user_id, id) WHERE state = 'held';
CREATE INDEX outbox_of_user ON outbox (user_id, created_at);

-- Meta cannot deliver to this person (not on WhatsApp any more, say); the next message of theirs clears it.
ALTER TABLE users ADD COLUMN unreachable_at TEXT;
ALTER TABLE users ADD COLUMN unreachable_reason TEXT;

-- Sending is paused until somebody has acted, or a time has passed: a token, a payment, a policy.
CREATE TABLE pauses (
    scope  TEXT PRIMARY KEY CHECK (scope IN ('all', 'templates')),
    code   INTEGER,
    reason TEXT NOT NULL,
    since  TEXT NOT NULL,
    until  TEXT NOT NULL
) STRICT;
