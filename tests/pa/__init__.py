"""The `pa` program of the sandbox, run as a real program against a temporary database."""
