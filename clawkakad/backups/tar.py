"""The container format of backups: a tar that is written and read in one pass, with a manifest as its last member.

Written while its parts are made, in bounded memory; a checksum for each part. Read twice: first everything is compared
with the manifest, then parts are taken out of it. Names are those that we give, and no other is ever read.
"""

import asyncio
import hashlib
import json
import re
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from clawkakad.errors import Rejected, UsageError

BLOCK = tarfile.BLOCKSIZE
CHUNK = 256 * 1024
FORMAT = 1
MANIFEST = "manifest.json"
LONGEST_MANIFEST = 16 * 1024 * 1024
REGISTRY, SECRET = "registry.sqlite", "secret"
NAMES = re.compile(r"registry\.sqlite|secret|keys/s[a-z2-7]{10}|sandboxes/s[a-z2-7]{10}\.tar\.gz")


class Sink(Protocol):
    """Where the bytes of a backup go."""

    async def write(self, data: bytes) -> None:
        """Take these, in order."""


@dataclass
class Writer:
    """One backup as it is written. `about`: what the manifest says besides the parts."""

    sink: Sink
    about: dict[str, Any]
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def add(self, name: str, size: int, content: AsyncIterator[bytes], **facts: Any) -> None:
        """One part of exactly `size` bytes. Raises Rejected where there are more or fewer."""
        await self.sink.write(_header(name, size))
        digest, seen = hashlib.sha256(), 0
        async for piece in content:
            digest.update(piece)
            seen += len(piece)
            await self.sink.write(piece)
        if seen != size:
            raise Rejected(f"{name} has {seen} bytes, and not {size}")
        await self.sink.write(bytes(padding(size)))
        self.parts[name] = {"size": size, "sha256": digest.hexdigest(), **facts}

    async def add_file(self, name: str, path: Path) -> None:
        """A file of the host."""
        with path.open("rb") as file:
            await self.add(name, path.stat().st_size, _pieces(file))

    async def finish(self) -> None:
        """The manifest, and the end."""
        text = json.dumps({"format": FORMAT, **self.about, "parts": self.parts}, indent=1).encode()
        await self.sink.write(_header(MANIFEST, len(text)) + text + bytes(padding(len(text)) + 2 * BLOCK))


@dataclass(frozen=True)
class Verified:
    """A backup of which every byte was compared with its manifest."""

    path: Path
    about: dict[str, Any]
    parts: dict[str, dict[str, Any]]
    offsets: dict[str, int]

    async def pieces(self, name: str) -> AsyncIterator[bytes]:
        """The bytes of one part."""
        left = int(self.parts[name]["size"])
        with self.path.open("rb") as file:
            file.seek(self.offsets[name])
            while left > 0:
                piece = await asyncio.to_thread(file.read, min(CHUNK, left))
                if not piece:
                    raise UsageError(f"{self.path} was changed meanwhile")
                left -= len(piece)
                yield piece

    async def bytes(self, name: str) -> bytes:
        """A small part as a whole."""
        return b"".join([piece async for piece in self.pieces(name)])

    async def write_to(self, name: str, target: Path) -> None:
        """A part as a new file of mode 0600."""
        target.touch(mode=0o600, exist_ok=False)
        with target.open("wb") as file:
            async for piece in self.pieces(name):
                await asyncio.to_thread(file.write, piece)


def verify(path: Path) -> Verified:
    """Read all of it. Raises UsageError for anything that is not as the manifest says."""
    sums: dict[str, tuple[int, str]] = {}
    offsets: dict[str, int] = {}
    manifest: dict[str, Any] | None = None
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if manifest is not None or not member.isreg() or member.name in sums:
                    raise UsageError(f"{path} is no backup of clawkakad")
                file = tar.extractfile(member)
                assert file is not None
                if member.name == MANIFEST and member.size <= LONGEST_MANIFEST:
                    manifest = json.loads(file.read())
                elif NAMES.fullmatch(member.name):
                    sums[member.name], offsets[member.name] = _sum(file), member.offset_data
                else:
                    raise UsageError(f"{path} is no backup of clawkakad")
    except (tarfile.TarError, ValueError, OSError) as error:
        raise UsageError(f"{path} cannot be read as a backup: {error}") from error
    return _compared(path, manifest, sums, offsets)


def padding(size: int) -> int:
    """The zeros after a member."""
    return -size % BLOCK


def _compared(
    path: Path, manifest: dict[str, Any] | None, sums: dict[str, tuple[int, str]], offsets: dict[str, int]
) -> Verified:
    if not isinstance(manifest, dict) or not isinstance(manifest.get("parts"), dict):
        raise UsageError(f"{path} is cut off: it has no manifest")
    if manifest.get("format") != FORMAT:
        raise UsageError(f"{path} was made by another clawkakad: upgrade this one")
    parts = manifest.pop("parts")
    for name in sorted(parts.keys() | sums.keys()):
        said = parts.get(name, {})
        if sums.get(name) != (said.get("size"), said.get("sha256")):
            raise UsageError(f"{path} is damaged: {name} is not what its manifest says; nothing was changed")
    if REGISTRY not in parts:
        raise UsageError(f"{path} has no registry")
    return Verified(path, manifest, parts, offsets)


def _sum(file: Any) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    while piece := file.read(CHUNK):
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()


def _header(name: str, size: int) -> bytes:
    header = tarfile.TarInfo(name)
    header.size, header.mode = size, 0o600
    return header.tobuf(tarfile.PAX_FORMAT)


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, CHUNK):
        yield piece
