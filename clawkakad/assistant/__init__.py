"""What the assistant does: intake, conversations, delivery, reminders, heartbeats, access."""
