"""All state, in one SQLite file."""
