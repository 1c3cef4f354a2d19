-- How many a person has set that are still to come is counted each time one more is set.
CREATE INDEX reminders_pending ON reminders (user_id) WHERE state = 'pending';
