"""Where a text may be cut without breaking what people see as one character. No I/O.

A cautious simplification of Unicode's rules for grapheme clusters (https://unicode.org/reports/tr29/): it never allows
a cut that they forbid in emoji, flags, combining marks, Hangul and Indic conjuncts, and may forbid a few more.
"""

import unicodedata

_ZWJ = "\u200d"
_THAI_LAO_AM = "\u0e33\u0eb3"  # vowels that belong to the consonant before them
_PREPENDED = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\u0d4e"  # belong to what follows
_VIRAMA = 9  # canonical combining class: joins the consonant behind to the one before


def is_boundary(text: str, at: int) -> bool:
    """Whether `text` may be cut between `at - 1` and `at`."""
    if not 0 < at < len(text):
        return True
    before, after = text[at - 1], text[at]
    if before == "\r" and after == "\n":
        return False
    if before.isspace() and before != " ":
        return True
    if _extends(after) or before == _ZWJ or before in _PREPENDED or unicodedata.combining(before) == _VIRAMA:
        return False
    if _is_flag_letter(before) and _is_flag_letter(after):
        return _flag_letters_before(text, at) % 2 == 0
    return not (_is_jamo(before) and _is_jamo_or_syllable(after)) and not (_is_syllable(before) and _is_jamo(after))


def boundary_at_or_before(text: str, at: int) -> int:
    """The last place to cut that is not behind `at`; `at` itself when one cluster fills all of it."""
    place = at
    while place > 0 and not is_boundary(text, place):
        place -= 1
    return place or at


def _extends(char: str) -> bool:
    return (
        unicodedata.category(char) in ("Mn", "Mc", "Me")  # includes the variation selectors
        or char in _THAI_LAO_AM
        or char in "\u200c\u200d"
        or "\U0001f3fb" <= char <= "\U0001f3ff"  # skin tones
        or "\U000e0020" <= char <= "\U000e007f"  # tags of regional flags
    )


def _is_flag_letter(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _flag_letters_before(text: str, at: int) -> int:
    start = at
    while start > 0 and _is_flag_letter(text[start - 1]):
        start -= 1
    return at - start


def _is_jamo(char: str) -> bool:
    return "\u1100" <= char <= "\u11ff" or "\ud7b0" <= char <= "\ud7ff"


def _is_syllable(char: str) -> bool:
    return "\uac00" <= char <= "\ud7a3"


def _is_jamo_or_syllable(char: str) -> bool:
    return _is_jamo(char) or _is_syllable(char)
