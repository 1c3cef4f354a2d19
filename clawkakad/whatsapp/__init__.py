"""WhatsApp Cloud API: signature, parsing, errors, formatting, and the Graph client."""
