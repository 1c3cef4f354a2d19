"""The copier: a short-lived container beside a sandbox, on the same volume, as sealed as the sandbox itself.

It works whatever the sandbox does (running, frozen, stopped, gone): SQLite's locks hold between containers of one
volume. What it packs lies in a layer of its own, so nothing is written into a person's data while they are backed up.
It carries a label of its own, so that nobody takes it for a sandbox, and is gone when its work is done; one that a
crash left is removed by the next one, and with its sandbox.
"""

import contextlib
import json
import tarfile
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from clawkakad.backups.tar import BLOCK, padding
from clawkakad.errors import EngineUnavailable, ImageMissing
from clawkakad.model import SandboxId
from clawkakad.sandboxes.copying import EXCHANGE, copier_body, worked
from clawkakad.sandboxes.engine import Engine
from clawkakad.sandboxes.paths import SANDBOX_UID
from clawkakad.sandboxes.profile import volume_name
from clawkakad.sandboxes.removal import copier_name, remove_copier

PACKED = "data.tar.gz"
WORK_S = 3600.0  # packing one sandbox


@dataclass(frozen=True)
class Copier:
    """Makes copiers. `image`: the one they run, which must have Python."""

    engine: Engine
    instance: str
    image: str

    @contextlib.asynccontextmanager
    async def packed(
        self, sandbox_id: SandboxId, *, without: Collection[str] = ()
    ) -> AsyncIterator[tuple[dict[str, Any], int, AsyncIterator[bytes]]]:
        """A sandbox's data: the report, the size of its tar.gz, and its bytes. Raises Transient, Rejected.

        `without`: names at the top of the data that are passed over, and so are in no report either.
        """
        async with self._container(sandbox_id, ["out", "/data", EXCHANGE, *sorted(without)]) as name:
            report = await self._work(name)
            async with self.engine.archive(name, f"{EXCHANGE}/{PACKED}") as stream:
                size, content = await _only_file(stream)
                yield report, size, content

    async def stage(
        self, sandbox_id: SandboxId, size: int, content: AsyncIterator[bytes], damaged: Sequence[str]
    ) -> None:
        """Unpack into the sandbox's volume beside what is there, and check it. Raises Transient, Rejected.

        `damaged`: what the manifest says; backups of before the archive marked all of it have it only there.
        """
        async with self._container(sandbox_id, ["stage", "/data", EXCHANGE, json.dumps(list(damaged))]) as name:
            await self.engine.unpack(name, EXCHANGE, _as_tar(size, content))
            await self._work(name)

    async def swap(self, sandbox_id: SandboxId, stamp: str) -> int:
        """What was staged takes the place of what is there; how many bytes restores have moved aside there by now."""
        async with self._container(sandbox_id, ["swap", "/data", EXCHANGE, stamp]) as name:
            return int((await self._work(name))["aside"])

    async def clean(self, sandbox_id: SandboxId, *prefixes: str) -> int:
        """Remove what restores left in its volume, of these; how many bytes that were. Raises Transient, Rejected."""
        async with self._container(sandbox_id, ["clean", "/data", EXCHANGE, *prefixes]) as name:
            return int((await self._work(name))["freed"])

    @contextlib.asynccontextmanager
    async def _container(self, sandbox_id: SandboxId, words: list[str]) -> AsyncIterator[str]:
        name = copier_name(sandbox_id)
        await remove_copier(self.engine, self.instance, name)
        try:
            await self.engine.create(name, self._body(sandbox_id, words))
            yield name
        except ImageMissing as error:
            raise ImageMissing(f"the image {self.image} is needed to copy sandboxes: clawkakad image build") from error
        finally:
            with contextlib.suppress(EngineUnavailable):  # the next one removes it
                await remove_copier(self.engine, self.instance, name)

    async def _work(self, name: str) -> dict[str, Any]:
        """Start it, wait for its end, and read its report."""
        return await worked(self.engine, name, within_s=WORK_S)

    def _body(self, sandbox_id: SandboxId, words: list[str]) -> dict[str, object]:
        program = (resources.files("clawkakad.backups") / "inside.py").read_text(encoding="utf-8")
        return copier_body(self.instance, self.image, volume_name(sandbox_id), [program, *words])


async def _only_file(stream: AsyncIterator[bytes]) -> tuple[int, AsyncIterator[bytes]]:
    """The first file of a tar: its size, and its content."""
    buffer = bytearray()

    async def take(count: int) -> bytes:
        while len(buffer) < count:
            try:
                buffer.extend(await anext(stream))
            except StopAsyncIteration:
                raise EngineUnavailable("the engine broke off the copy of a sandbox") from None
        taken = bytes(buffer[:count])
        del buffer[:count]
        return taken

    while True:
        header = tarfile.TarInfo.frombuf(await take(BLOCK), "utf-8", "surrogateescape")
        if header.isreg():
            break
        await take(header.size + padding(header.size))  # an extended header

    async def content() -> AsyncIterator[bytes]:
        left = header.size
        while left > 0:
            piece = await take(min(left, max(1, len(buffer))) if buffer else 1)
            left -= len(piece)
            yield piece

    return header.size, content()


async def _as_tar(size: int, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    header = tarfile.TarInfo(PACKED)
    header.size, header.mode, header.uid, header.gid = size, 0o600, SANDBOX_UID, SANDBOX_UID
    yield header.tobuf(tarfile.PAX_FORMAT)
    async for piece in content:
        yield piece
    yield bytes(padding(size) + 2 * BLOCK)
