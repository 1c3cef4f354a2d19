"""The kinds of values that a setting may have: how each is read, and what makes one no good, in plain words."""

import ipaddress
import os
import re
from datetime import time
from pathlib import Path
from typing import Annotated

import phonenumbers
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from yarl import URL

EXAMPLES = frozenset({"changeme", "change-me", "your-token", "your-secret", "secret", "xxx", "example"})
SOCKET_PATH_LIMIT = 107  # bytes, sun_path of Linux (man 7 unix) without its final NUL
LEAST_DISK_MB = 64  # a new sandbox holds 2 MB
LONGEST_HOST_NAME = 253  # RFC 1035, without its final dot
HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
LONGEST_SOCKET = "/s1234567890/gateway/gateway.sock"


def _words(value: object) -> object:
    """A list is written with commas."""
    return tuple(w.strip() for w in value.split(",") if w.strip()) if isinstance(value, str) else value


def _not_an_example(value: SecretStr) -> SecretStr:
    if value.get_secret_value().strip().lower() in EXAMPLES:
        raise ValueError("is still the example value; set your own")
    return value


def _visible(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().isprintable():  # no header could carry it; or an editor put a byte order mark first
        raise ValueError("holds a line break, or another sign that cannot be seen")
    return value


def _identifier(value: str) -> str:
    """A phone number in any human format becomes digits; a business-scoped id (US.1349…) stays."""
    if re.fullmatch(r"[A-Z]{2}\.[A-Za-z0-9.]+", value):
        return value
    try:
        number = phonenumbers.parse(value if value.startswith("+") else f"+{value}")
    except phonenumbers.NumberParseException:
        number = None
    if number is None or not phonenumbers.is_possible_number(number):
        raise ValueError(f"{value!r} is not a phone number with its country code, such as +49 151 23456789")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:]


def _hours(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d\d:\d\d)-(\d\d:\d\d)", value.strip())
    if match is None:
        raise ValueError("must look like 08:00-22:00")
    return tuple(time.fromisoformat(part) for part in match.groups())


def _url(value: str) -> str:
    if not re.match(r"https?://[^/\s]+(/\S*)?$", value) or not _has_host(value):
        raise ValueError("must be a URL that begins with http:// or https://")
    return value.rstrip("/")


def _has_host(url: str) -> bool:
    try:
        return bool(URL(url).raw_host)
    except ValueError:  # a port that is none, say
        return False


def _host(value: str) -> str:
    if not _is_address(value) and not _is_host_name(value):
        raise ValueError(
            "must be an IP address or a host name alone, such as 127.0.0.1, ::1 or localhost; the port goes into PORT"
        )
    return value


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return re.search(r"[\s/]", value) is None  # `ipaddress` takes anything for the zone after a %


def _is_host_name(value: str) -> bool:
    """One whose last part is a number would be read as an IPv4 address, and is none."""
    labels = value.removesuffix(".").split(".")
    return (
        len(value) <= LONGEST_HOST_NAME + 1
        and all(HOST_LABEL.fullmatch(label) for label in labels)
        and not labels[-1].isdigit()
    )


def _quota(value: int) -> int:
    if 0 < value < LEAST_DISK_MB:
        raise ValueError(f"must be 0 for no limit, or {LEAST_DISK_MB} or more")
    return value


def _absolute(value: Path) -> Path:
    if not value.is_absolute():
        raise ValueError("must be an absolute path")
    return value


def _short(value: Path) -> Path:
    longest = SOCKET_PATH_LIMIT - len(LONGEST_SOCKET)
    if len(os.fsencode(value)) > longest:
        raise ValueError(f"is too long for unix sockets: at most {longest} bytes")
    return value


Secret = Annotated[SecretStr, AfterValidator(_not_an_example), AfterValidator(_visible)]
Url = Annotated[str, AfterValidator(_url)]
Host = Annotated[str, AfterValidator(_host)]
Identifiers = Annotated[tuple[Annotated[str, AfterValidator(_identifier)], ...], BeforeValidator(_words)]
Secrets = Annotated[tuple[Secret, ...], BeforeValidator(_words), Field(min_length=1)]
Hours = Annotated[tuple[time, time], BeforeValidator(_hours)]
Directory = Annotated[Path, AfterValidator(_absolute)]
SocketDirectory = Annotated[Directory, AfterValidator(_short)]
DiskQuota = Annotated[int, AfterValidator(_quota)]
