"""One module per subject. Each command takes the context and what was typed, and returns the lines to print."""
