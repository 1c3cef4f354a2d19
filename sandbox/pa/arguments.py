"""What was typed, sorted into words and options by one command's rules. No input or output.

Kinder than the usual parsers, because a model types it: an option takes whatever follows it, even text that begins with
a dash; options may stand anywhere; common other names of an option are understood; every refusal shows the right call.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .errors import PaError
from .text import clean

# Other names that models come up with, for the options that may be meant; the first that the command has is.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "note": ("what",),
    "description": ("what", "note"),
    "desc": ("what", "note"),
    "item": ("what",),
    "title": ("what", "text"),
    "name": ("what",),
    "what": ("text",),
    "message": ("text",),
    "cat": ("category",),
    "cur": ("currency",),
    "at": ("due",),
    "date": ("at", "due", "birthday"),
    "when": ("at", "due"),
    "time": ("at", "due"),
    "by": ("due",),
    "deadline": ("due",),
    "source": ("from",),
    "calories": ("kcal",),
    "cal": ("kcal",),
    "type": ("meal",),
    "timezone": ("zone",),
    "time-zone": ("zone",),
    "tz": ("zone",),
    "lang": ("language",),
    "reason": ("why",),
    "bday": ("birthday",),
    "tel": ("phone",),
}


@dataclass(frozen=True)
class Shape:
    """What a command takes: its usage, one good example, the options with a value, the flags without."""

    usage: str
    example: str
    options: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arguments:
    """What was typed for one command."""

    shape: Shape
    words: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)
    flags: frozenset[str] = frozenset()

    @property
    def sentence(self) -> str:
        """All words as one text, quoted or not."""
        return clean(" ".join(self.words))

    @property
    def source(self) -> str:
        """The person's own words that this came from."""
        return clean(self.options.get("from", ""))

    def text(self, option: str) -> str | None:
        """The cleaned value of an option, None when it was not given."""
        value = self.options.get(option)
        return None if value is None else clean(value)

    def wrong(self, reason: str) -> PaError:
        """An error that shows the right call."""
        return PaError(f"{reason}; try: {self.shape.example}")


def parse(shape: Shape, typed: list[str]) -> Arguments:
    """Sorts what was typed. Raises PaError for an option that is not the command's or has no value."""
    words: list[str] = []
    options: dict[str, str] = {}
    flags: set[str] = set()
    rest = iter(typed)
    for typed_word in rest:
        if typed_word == "--":
            words.extend(rest)
        elif not _is_option(typed_word):
            words.append(typed_word)
        else:
            name, equals, value = typed_word[2:].partition("=")
            known = _known(shape, name.lower())
            if known in shape.flags:
                flags.add(known)
            else:
                options[known] = value if equals else _next(rest, shape, known)
    return Arguments(shape, words, options, frozenset(flags))


def _is_option(token: str) -> bool:
    """`--what`, but not a sentence that merely begins with dashes."""
    return token.startswith("--") and token[2:3].isalpha() and " " not in token.partition("=")[0]


def _known(shape: Shape, name: str) -> str:
    for candidate in (name, *ALIASES.get(name, ())):
        if candidate in shape.options or candidate in shape.flags:
            return candidate
    raise PaError(f"there is no option --{name[:30]} here; usage: {shape.usage}")


def _next(rest: Iterator[str], shape: Shape, option: str) -> str:
    value = next(rest, None)
    if value is None:
        raise PaError(f"--{option} needs a value; try: {shape.example}")
    return value
