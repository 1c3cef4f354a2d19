"""Days and times in a line of text, and how `pa` reads them. No I/O."""

import re

_CLOCK = r"(?:\d{1,2}(?:[:.]\d{2})?\s*[ap]\.?m\b\.?|\d{1,2}[:.]\d{2}|noon)"
_AT = rf"at\s+(?:{_CLOCK}|\d{{1,2}})"  # a bare hour counts behind "at" only
_NAMES = "mon(?:day)?|tue(?:sday)?|wed(?:nesday)?|thu(?:rsday)?|fri(?:day)?|sat(?:urday)?|sun(?:day)?"
_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_DATE = rf"(?:\d{{4}}-\d{{2}}-\d{{2}}|\d{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s+)?(?:{_MONTHS})[a-z]*)"
_DAY = rf"(?:today|tonight|tomorrow|day after tomorrow|(?:(?:next|this|on)\s+)?(?:{_NAMES})\b|(?:on\s+)?{_DATE})"
_SPAN = r"in\s+(?:\d+|an?|half an)\s*(?:m|mins?|minutes?|h|hrs?|hours?|d|days?|weeks?)\b"
WHEN = rf"(?:{_SPAN}|{_DAY}(?:\s+{_AT}|\s+{_CLOCK})?|(?:{_AT}|{_CLOCK})(?:\s+{_DAY})?)"
"""A moment as people write it: `in 20 minutes`, `tomorrow at 9`, `18:30`, `at 7pm on friday`, `23 nov`."""


def tidy_when(words: str) -> str:
    """A moment as `pa` reads it: without "at" and "on", and `9` alone as `9:00`."""
    text = re.sub(r"\b(?:at|on)\s+", "", " ".join(words.lower().split()))
    if text == "end of day":
        return "today 18:00"
    if text.startswith("in "):
        return text
    text = re.sub(r"\btonight\b(?!.*\d)", "today 20:00", text)
    return re.sub(
        rf"(?:\A|(?<=[a-z] ))(\d{{1,2}})(?=\Z| (?:today|tonight|tomorrow|next|this|{_NAMES})\b)", r"\1:00", text
    )
