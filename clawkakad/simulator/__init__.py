"""A WhatsApp of our own: a Graph API, a chat page and an offline model, for newcomers and tests."""
