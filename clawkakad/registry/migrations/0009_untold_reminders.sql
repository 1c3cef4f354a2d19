-- Each turn asks whether there are any; a person's reminders of years need not be looked through for that.
CREATE INDEX reminders_untold ON reminders (user_id) WHERE state = 'fired' AND told = 0;
