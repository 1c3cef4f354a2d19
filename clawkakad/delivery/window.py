"""Meta's service window: free-form text only within 24 hours of a person's last message. Pure."""

from datetime import datetime, timedelta

WINDOW = timedelta(hours=23, minutes=50)  # Meta's 24 hours, less a margin ("Service messages")


def in_window(now: datetime, last_inbound_at: datetime | None) -> bool:
    """True while free-form text may be sent."""
    return last_inbound_at is not None and now - last_inbound_at < WINDOW
