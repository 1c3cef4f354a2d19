-- Each new one asks how many its person has set within an hour: those of years need not be looked through for that.
CREATE INDEX reminders_created ON reminders (user_id, created_at);
