"""Variants of the light image, built on the spot from the sandbox image that is here: no network, two seconds each.

In a test: `async with light_image("good") as tag`. Images of the same variant are one image to the engine (its cache
makes them so); each test has a tag of its own, so that what one takes away is no loss to another.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
BUILD_S = 120.0


@contextlib.asynccontextmanager
async def light_image(
    mode: str = "good",
    *,
    version: str = "1",
    sql: str = "",
    lines: str = "",
    files: Mapping[str, bytes] | None = None,
    tag: str | None = None,
) -> AsyncIterator[str]:
    """The tag of a variant; the tag goes at the end. `mode` and `sql`: see gateway.py.

    `version`: another one is another image. `lines`: more of a Dockerfile, with `files` beside it. `tag`: this one,
    moved if it is there already.
    """
    tag = tag or f"clawkaka-light:{mode}-{uuid.uuid4().hex[:8]}"
    await build(tag, mode, version=version, sql=sql, lines=lines, files=files)
    try:
        yield tag
    finally:
        await _docker("rmi", "--no-prune", tag, check=False)


async def build(
    tag: str,
    mode: str = "good",
    *,
    version: str = "1",
    sql: str = "",
    lines: str = "",
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Build it, or move the tag to it."""
    text = (HERE / "Dockerfile").read_text()
    text += f'ENV CLAWKAKA_LIGHT={mode} CLAWKAKA_LIGHT_SQL="{sql}"\nLABEL clawkaka.light={version} clawkaka.source=\n'
    with TemporaryDirectory() as name:
        context = Path(name)
        (context / "Dockerfile").write_text(f"{text}{lines}\n")
        (context / "gateway.py").write_bytes((HERE / "gateway.py").read_bytes())
        for path, content in (files or {}).items():
            (context / path).parent.mkdir(parents=True, exist_ok=True)
            (context / path).write_bytes(content)
        await _docker("build", "--quiet", "--network", "none", "--tag", tag, str(context))


async def _docker(*words: str, check: bool = True) -> str:
    process = await asyncio.create_subprocess_exec(
        "docker", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(BUILD_S):
        output, _ = await process.communicate()
    assert process.returncode == 0 or not check, f"docker {words[0]}: {output.decode()}"
    return output.decode()
