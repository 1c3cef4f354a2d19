"""One sealed container per person: its profile, its life, and the host API that it may call."""
