"""Logging: configured here and nowhere else. People read it on a terminal, machines as JSON lines.

What never appears: message texts, tokens, keys, whole phone numbers. Callers pass ids and masked numbers as keyword
values; the messages themselves are constants. As a second net, what looks like a phone number, a token of Meta or a
model key is masked under the sink. Tracebacks are rendered without the values of variables.
"""

import json
import logging
import re
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC
from typing import TYPE_CHECKING, Any

from loguru import logger

if TYPE_CHECKING:
    from loguru import Message, Record

LINES_PER_S = 10  # of a kind that comes with every message: a line costs as much as storing one

_OF_CALLER = logger.opt(depth=1)
_ENCODE = json.JSONEncoder(ensure_ascii=False).encode
_NINE_DIGITS = re.compile(r"\d{9}")
_LONG_NUMBER = re.compile(r"(?<![\w.:-])\+?\d{9,15}(?![\w.:-])")
_NUMBER_IN_NAME = re.compile(r"\+?\d(?:[\s()./-]{0,3}\d){6,}")
_SECRET = re.compile(r"\b(sk-[\w-]{8,}|EAA\w{12,}|Bearer\s+\S+)")


def mask(identifier: str) -> str:
    """A phone number or id as operators may see it: its first two and last two characters."""
    return f"{identifier[:2]}…{identifier[-2:]}" if len(identifier) > 6 else "…"


def mask_name(name: str) -> str:
    """What somebody calls themselves, as operators may see it: some have their phone number there."""
    return _NUMBER_IN_NAME.sub(lambda found: mask(found.group()), name)


def redact(text: str) -> str:
    """Mask what slipped through: long numbers and known forms of keys.

    Most lines can hold neither, which is seen in half of the time that the patterns take (6 us).
    """
    if "sk-" in text or "EAA" in text or "Bearer" in text:
        text = _SECRET.sub("[secret]", text)
    return _LONG_NUMBER.sub(lambda found: mask(found.group()), text) if _NINE_DIGITS.search(text) else text


def configure(form: str, level: str) -> None:
    """Send all logging, the standard library's included, to standard error in one form (auto, human, json)."""
    human = form == "human" or (form == "auto" and sys.stderr.isatty())
    logger.remove()
    logger.add(_human if human else _json, level=level, format="{message}", backtrace=False, diagnose=False)
    logging.basicConfig(handlers=[_Bridge()], level=logging.WARNING, force=True)


class Lines:
    """Lines of one kind, of which at most ten are written in a second; the next one tells how many were left out."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._second = 0
        self._written = 0
        self._unwritten = 0

    def info(self, message: str, **values: object) -> None:
        """Write one, if there is room, as coming from the caller."""
        second = int(self._monotonic())
        if second != self._second:
            self._second, self._written = second, 0
        if self._written >= LINES_PER_S:
            self._unwritten += 1
            return
        self._written += 1
        if self._unwritten:
            values["unlogged"], self._unwritten = self._unwritten, 0
        _OF_CALLER.info(message, **values)


class _Bridge(logging.Handler):
    """The standard library's records, handed to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        logger.opt(exception=record.exc_info).log(record.levelname, "{text}", text=record.getMessage(), via=record.name)


def _human(message: "Message") -> None:
    record = message.record
    values = " ".join(f"{name}={value}" for name, value in record["extra"].items() if name != "text")
    when = record["time"].strftime("%H:%M:%S")
    line = f"{when} {record['level'].name:<7} {record['message']}  {values}".rstrip()
    sys.stderr.write(redact(line + _trace(record)) + "\n")


def _json(message: "Message") -> None:
    record = message.record
    fields: dict[str, Any] = {
        "at": record["time"].astimezone(UTC).isoformat(timespec="milliseconds"),
        "level": record["level"].name,
        "message": record["message"],
        "module": record["name"],
        **{name: str(value) for name, value in record["extra"].items() if name != "text"},
    }
    trace = _trace(record)
    if trace:
        fields["trace"] = trace
    sys.stderr.write(redact(_ENCODE(fields)) + "\n")


def _trace(record: "Record") -> str:
    """Where it happened, without the exception's own text: that may quote a message or a key."""
    raised = record["exception"]
    if raised is None or raised.type is None:
        return ""
    where = "".join(traceback.format_tb(raised.traceback))
    return f"\n{where}{raised.type.__name__}"
