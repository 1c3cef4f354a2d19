-- Of some pauses Meta tells only by a status, after it has taken the message: that it takes the next one proves nothing.
ALTER TABLE pauses ADD COLUMN by_status INTEGER NOT NULL DEFAULT 0 CHECK (by_status IN (0, 1));
-- When the first message was tried alone: what is known to have gone out of those taken since ends such a pause.
ALTER TABLE pauses ADD COLUMN tried_at TEXT;
