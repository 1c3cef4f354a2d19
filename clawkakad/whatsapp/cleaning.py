"""Text from outside, without the characters that deceive a reader, a terminal or a database.

Removed: control characters, lone surrogates (they cannot be stored as UTF-8), overrides of the writing direction,
invisible characters without a use in any script, and tag characters (text that people do not see and models read).
Kept: newline, tab, the joiners that emoji, Persian and Indic scripts need, and the three flags that are spelled with
tags.
"""

import re

_LINE_END = re.compile(r"\r\n?|[\u2028\u2029]")
# England, Scotland, Wales: no phone shows another one, and any tags after a black flag would be a text that hides.
# https://www.unicode.org/Public/emoji/latest/emoji-sequences.txt, RGI_Emoji_Tag_Sequence
_REGIONS = ("gbeng", "gbsct", "gbwls")
_TAGS = "|".join("".join(chr(0xE0000 + ord(letter)) for letter in region) for region in _REGIONS)
_FLAG = f"\U0001f3f4(?:{_TAGS})\U000e007f"
_UNWANTED = (
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1, but newline and tab
    r"\xad\u180e\u200b\u2060-\u2064\ufeff"  # soft hyphen and invisible marks
    r"\u202a-\u202e\u2066-\u206f"  # direction embeddings, overrides, isolates; deprecated format characters
    "\ud800-\udfff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)
_FLAG_OR_UNWANTED = re.compile(f"({_FLAG})|{_UNWANTED}")


def clean_text(text: str) -> str:
    """The text with "\\n" as its only line end, without what is unwanted, and without whitespace around it."""
    if text.replace("\n", "").isprintable():  # nothing unwanted is, nor another line end (2 us less a line)
        return text.strip()
    return _FLAG_OR_UNWANTED.sub(lambda found: found.group(1) or "", _LINE_END.sub("\n", text)).strip()


def clean_label(text: str, limit: int) -> str:
    """The same on one line of at most `limit` characters: for names, and for words that go into a log."""
    return " ".join(clean_text(text[: 4 * limit]).split())[:limit].rstrip()
