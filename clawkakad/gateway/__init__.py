"""The agent's gateway: its frames, one connection, and a turn over it."""
