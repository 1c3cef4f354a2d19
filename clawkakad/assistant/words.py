"""What the daemon itself says to people, in one place: short, plain, never about machinery."""

ONLY_TEXT = "I can only read text so far. Could you write it to me in words?"
TOO_LONG = "Sorry, that took me too long and I had to stop. Could you ask me once more?"
NOT_NOW = "Sorry, I couldn't work that out just now. Please try again in a few minutes."
MODEL_KEY = (
    "Sorry, I can't think right now: my access to the model has a problem. The person who runs me has been told."
)
CUT_SHORT = "There is more, but it gets too long for here. Ask me for the part that you need."
GAVE_UP = "Sorry, something went wrong on my side with your message. Please send it again if it still matters."


def reminder(text: str, *, late: str | None) -> str:
    """A reminder as it is sent; `late`: the wall time it was meant for, where it comes late."""
    return f"⏰ {text}" if late is None else f"⏰ {text}\n_(this was for {late}; I was away)_"
