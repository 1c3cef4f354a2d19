"""One person's data for that person: what was said, as text and as JSON, and the files of their assistant.

Files come out of a sandbox: only plain ones are taken over, under a folder of their own, and none is unpacked here.
What belongs to the gateway's machinery, and may hold its token, stays.
"""

import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from clawkakad.model import UserId
from clawkakad.registry import UserRow
from clawkakad.registry.transaction import Transaction

MACHINERY = frozenset({"state", "home"})
FOLDER = "clawkakad-export"


@dataclass(frozen=True)
class Told:
    """What the registry knows of somebody. `messages`: in the order of time."""

    profile: dict[str, Any]
    messages: list[dict[str, Any]]
    reminders: list[dict[str, Any]]
    usage: list[dict[str, Any]]


def told(tx: Transaction, user: UserRow) -> Told:
    """Read it, on one committed state."""
    profile = {
        "id": user.id,
        "name": user.profile.name,
        "time_zone": user.profile.time_zone,
        "currency": user.profile.currency,
        "language": user.profile.language,
        "country": user.profile.country,
        "identifiers": [{"kind": kind.value, "value": value} for kind, value in user.identifiers],
        "first_seen": user.created_at.isoformat(),
    }
    return Told(
        profile,
        _all(
            tx,
            "SELECT sent_at AS at, 'you' AS who, kind, text, state FROM inbox WHERE user_id = :user UNION ALL"
            " SELECT created_at, 'assistant', origin, text, state FROM outbox WHERE user_id = :user ORDER BY at",
            user.id,
        ),
        _all(
            tx, "SELECT due_at, wall, zone, text, state FROM reminders WHERE user_id = :user ORDER BY due_at", user.id
        ),
        _all(
            tx,
            "SELECT day, model, calls, tokens_in, tokens_out, cost_micro_usd FROM usage WHERE user_id = :user"
            " ORDER BY day",
            user.id,
        ),
    )


def write(descriptor: int, about: Told, packed: Path | None) -> None:
    """The export as a tar.gz; `packed`: the sandbox's data as the copier packed it, if there is a sandbox."""
    with os.fdopen(os.dup(descriptor), "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as tar:
        _add(tar, "profile.json", _json(about.profile))
        _add(tar, "messages.json", _json(about.messages))
        _add(tar, "messages.txt", "".join(_lines(about.messages)).encode())
        _add(tar, "reminders.json", _json(about.reminders))
        _add(tar, "usage.json", _json(about.usage))
        if packed is not None:
            with tarfile.open(packed, "r|gz") as source:
                for member in source:
                    name = PurePosixPath(member.name)
                    if member.isreg() and is_theirs(name):
                        content = source.extractfile(member)
                        assert content is not None
                        _add_stream(tar, f"files/{name}", member.size, int(member.mtime), content)


def is_theirs(name: PurePosixPath) -> bool:
    """Whether a file of a sandbox belongs into an export."""
    return not name.is_absolute() and ".." not in name.parts and name.parts[0] not in MACHINERY


def _lines(messages: list[dict[str, Any]]) -> Iterator[str]:
    for message in messages:
        when = str(message["at"])[:16].replace("T", " ")
        yield f"[{when} UTC] {message['who']}: {message['text'] or message['kind']}\n"


def _all(tx: Transaction, sql: str, user_id: UserId) -> list[dict[str, Any]]:
    return [dict(row) for row in tx.all(sql, {"user": user_id})]


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    _add_stream(tar, name, len(content), 0, io.BytesIO(content))


def _add_stream(tar: tarfile.TarFile, name: str, size: int, mtime: int, content: Any) -> None:
    header = tarfile.TarInfo(f"{FOLDER}/{name}")
    header.size, header.mode, header.mtime = size, 0o600, mtime
    tar.addfile(header, content)
