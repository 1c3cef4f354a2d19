-- One person's own database: what their assistant remembers for them.
--
-- Rules that hold for every table:
--   * money    an INTEGER in the currency's minor unit (ISO 4217: INR and USD 2 decimals, JPY 0, KWD 3), beside its currency;
--   * time     TEXT in UTC, "2026-11-22T03:30:00Z", beside the IANA zone that it was meant in;
--   * day      the calendar date in that zone, so that "today" stays the day that the person lived through;
--   * source   the person's own words that a row came from;
--   * ids      never used twice (AUTOINCREMENT): "task 3" means one thing for ever.
-- Later versions only add to this: what leads to them is in migrations/, and this file is always the newest one.
-- Safe to load again: nothing that exists is touched.

PRAGMA busy_timeout = 5000;
PRAGMA journal_mode = WAL;
PRAGMA foreign_keys = ON;

BEGIN IMMEDIATE;

CREATE TABLE IF NOT EXISTS tasks (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  what        TEXT NOT NULL CHECK (what <> ''),
  state       TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done')),
  due_at      TEXT CHECK (due_at GLOB '????-??-??T??:??:??Z'),     -- only when a time of day was named
  due_day     TEXT CHECK (due_day GLOB '????-??-??'),              -- whenever it is due at all
  zone        TEXT NOT NULL CHECK (zone <> ''),
  done_at     TEXT CHECK (done_at GLOB '????-??-??T??:??:??Z'),
  source_text TEXT NOT NULL DEFAULT '',
  created_at  TEXT NOT NULL CHECK (created_at GLOB '????-??-??T??:??:??Z'),
  CHECK (due_at IS NULL OR due_day IS NOT NULL),
  CHECK ((state = 'done') = (done_at IS NOT NULL))
) STRICT;
CREATE INDEX IF NOT EXISTS tasks_by_due ON tasks (state, due_day);

-- A mirror. The daemon owns the clock and the truth; ids are the daemon's.
CREATE TABLE IF NOT EXISTS reminders (
  id          INTEGER PRIMARY KEY,
  text        TEXT NOT NULL CHECK (text <> ''),
  due_at      TEXT NOT NULL CHECK (due_at GLOB '????-??-??T??:??:??Z'),
  wall        TEXT NOT NULL,                                       -- "2026-11-23 09:00" in zone
  zone        TEXT NOT NULL CHECK (zone <> ''),
  state       TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'cancelled', 'gone')),
  source_text TEXT NOT NULL DEFAULT '',
  created_at  TEXT NOT NULL CHECK (created_at GLOB '????-??-??T??:??:??Z')
) STRICT;
CREATE INDEX IF NOT EXISTS reminders_by_due ON reminders (state, due_at);

-- A reminder that was asked for and not yet confirmed: asking again uses the same key, so that it is made once.
CREATE TABLE IF NOT EXISTS reminder_attempts (
  key         TEXT PRIMARY KEY,
  asked       TEXT NOT NULL,                                       -- WHEN as it was typed
  at          TEXT NOT NULL,                                       -- what was sent to the daemon
  zone        TEXT,
  text        TEXT NOT NULL CHECK (text <> ''),
  created_at  TEXT NOT NULL CHECK (created_at GLOB '????-??-??T??:??:??Z')
) STRICT;

CREATE TABLE IF NOT EXISTS meals (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  what        TEXT NOT NULL CHECK (what <> ''),
  meal        TEXT NOT NULL CHECK (meal IN ('breakfast', 'lunch', 'dinner', 'snack')),
  kcal        INTEGER NOT NULL CHECK (kcal BETWEEN 0 AND 20000),
  protein_g   REAL CHECK (protein_g BETWEEN 0 AND 5000),
  carbs_g     REAL CHECK (carbs_g BETWEEN 0 AND 5000),
  fat_g       REAL CHECK (fat_g BETWEEN 0 AND 5000),
  eaten_at    TEXT NOT NULL CHECK (eaten_at GLOB '????-??-??T??:??:??Z'),
  zone        TEXT NOT NULL CHECK (zone <> ''),
  day         TEXT NOT NULL CHECK (day GLOB '????-??-??'),
  source_text TEXT NOT NULL DEFAULT '',
  created_at  TEXT NOT NULL CHECK (created_at GLOB '????-??-??T??:??:??Z')
) STRICT;
CREATE INDEX IF NOT EXISTS meals_by_day ON meals (day);

-- Nutrition goals for a day: kcal, protein, carbs, fat, ...
CREATE TABLE IF NOT EXISTS goals (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  kind        TEXT NOT NULL UNIQUE CHECK (kind <> ''),
  value       REAL NOT NULL CHECK (value > 0),
  source_text TEXT NOT NULL DEFAULT '',
  created_at  TEXT NOT NULL CHECK (created_at GLOB '????-??-??T??:??:??Z')
) STRICT;

CREATE TABLE IF NOT EXISTS expenses (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  what         TEXT NOT NULL DEFAULT '',
  category     TEXT NOT NULL DEFAULT 'Other' CHECK (category <> ''),
  amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
  currency     TEXT NOT NULL CHECK (currency GLOB '[A-Z][A-Z][A-Z]'),
  spent_at     TEXT NOT NULL CHECK (spent_at GLOB '????-??-??T??:??:??Z'),
  zone         TEXT NOT NULL CHECK (zone <> ''),
  day          TEXT NOT NULL CHECK (day GLOB '????-??-??'),
  source_text  TEXT NOT NULL DEFAULT '',
  created_at   TEXT NOT NULL CHECK (created_at GLOB '????-??-??T??:??:??Z')
) STRICT;
CREATE INDEX IF NOT EXISTS expenses_by_day ON expenses (day, category);

CREATE TABLE IF NOT EXISTS income (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  what         TEXT NOT NULL DEFAULT '',
  amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
  currency     TEXT NOT NULL CHECK (currency GLOB '[A-Z][A-Z][A-Z]'),
  received_at  TEXT NOT NULL CHECK (received_at GLOB '????-??-??T??:??:??Z'),
  zone         TEXT NOT NULL CHECK (zone <> ''),
  day          TEXT NOT NULL CHECK (day GLOB '????-??-??'),
  source_text  TEXT NOT NULL DEFAULT '',
  created_at   TEXT NOT NULL CHECK (created_at GLOB '????-??-??T??:??:??Z')
) STRICT;
CREATE INDEX IF NOT EXISTS income_by_day ON income (day);

CREATE TABLE IF NOT EXISTS contacts (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  name        TEXT NOT NULL CHECK (name <> ''),
  phone       TEXT,
  birthday    TEXT CHECK (birthday GLOB '????-??-??' OR birthday GLOB '--??-??'),  -- "--11-23": the year is not known
  note        TEXT,
  source_text TEXT NOT NULL DEFAULT '',
  created_at  TEXT NOT NULL CHECK (created_at GLOB '????-??-??T??:??:??Z')
) STRICT;
CREATE INDEX IF NOT EXISTS contacts_by_name ON contacts (name);

-- Every change to this schema after the first day: what, and why.
CREATE TABLE IF NOT EXISTS schema_changes (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  statement  TEXT NOT NULL CHECK (statement <> ''),
  why        TEXT NOT NULL CHECK (why <> ''),
  copy_file  TEXT NOT NULL,                                        -- the database as it was before, beside this one
  created_at TEXT NOT NULL CHECK (created_at GLOB '????-??-??T??:??:??Z')
) STRICT;

-- What `pa undo` takes back: the newest entry with no undone_at. before/after are JSON objects of columns.
CREATE TABLE IF NOT EXISTS journal (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  action     TEXT NOT NULL CHECK (action IN ('add', 'edit', 'delete')),
  table_name TEXT NOT NULL CHECK (table_name <> ''),
  row_id     INTEGER NOT NULL,
  before     TEXT CHECK (before IS NULL OR json_valid(before)),
  after      TEXT CHECK (after IS NULL OR json_valid(after)),
  summary    TEXT NOT NULL,
  created_at TEXT NOT NULL CHECK (created_at GLOB '????-??-??T??:??:??Z'),
  undone_at  TEXT CHECK (undone_at GLOB '????-??-??T??:??:??Z')
) STRICT;

-- What the heartbeat has already been told, so that it is not told again and again.
CREATE TABLE IF NOT EXISTS pulse_marks (
  finding     TEXT PRIMARY KEY,                                    -- "overdue task 3"
  line        TEXT NOT NULL,                                       -- as reported; a different line is news again
  times       INTEGER NOT NULL DEFAULT 1 CHECK (times > 0),
  reported_at TEXT NOT NULL CHECK (reported_at GLOB '????-??-??T??:??:??Z'),
  day         TEXT NOT NULL CHECK (day GLOB '????-??-??')
) STRICT;

PRAGMA user_version = 1;

COMMIT;
