"""The offline model's mind: fixed rules from a request's messages to a text or a tool call. No I/O anywhere in here."""
