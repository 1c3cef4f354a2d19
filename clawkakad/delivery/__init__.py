"""The outbox, sent: in order, at Meta's pace, through every trouble; nothing lost, nothing doubled unasked."""
