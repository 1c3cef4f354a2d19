"""Where a backup is written: a file that appears under its name only when it is whole and on disk, encrypted or not.

Encryption is a program of the machine's, age or gpg: the plain bytes go into it and touch no disk.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Protocol

from clawkakad.errors import UsageError

PARTIAL = ".partial"
AGE_HEAD = b"age-encryption.org/"
GPG = ".gpg"  # the end of a file's name: what is in it tells nothing


class _Stream(Protocol):
    async def write(self, data: bytes) -> None: ...


def encryption(*, age: str | None, gpg: str | None) -> tuple[Sequence[str], str]:
    """The command that encrypts for a recipient, and what it adds to a file's name. Raises UsageError."""
    if age and gpg:
        raise UsageError("--age or --gpg, not both")
    if age:
        return [_program("age"), "--recipient", age], ".age"
    if gpg:
        options = ["--batch", "--quiet", "--trust-model", "always", "--encrypt", "--recipient", gpg, "--output", "-"]
        return [_program("gpg"), *options], GPG
    return [], ""


@contextlib.asynccontextmanager
async def written(target: Path, command: Sequence[str]) -> AsyncIterator[_Stream]:
    """A sink for `target`, through `command` if it is not empty; nothing stays of it where the block fails.

    Raises UsageError where the file cannot be written, or the command fails.
    """
    partial = target.with_name(f".{target.name}{PARTIAL}")
    try:
        discard(partial)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        _lock(descriptor)
    except BlockingIOError as error:
        raise UsageError(f"another command is writing {target}") from error
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}") from error
    try:
        async with _through(command, descriptor) if command else _plain(descriptor) as sink:
            yield sink
        await asyncio.to_thread(os.fsync, descriptor)
        os.replace(partial, target)
        _sync_directory(target.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def discard(partial: Path) -> None:
    """Remove what a command that was killed left of a file. Raises BlockingIOError where one is still writing it."""
    try:
        descriptor = os.open(partial, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except PermissionError:  # another user's, whose lock cannot be seen; the directory decides
        partial.unlink()
        return
    try:
        _lock(descriptor)
        partial.unlink()
    finally:
        os.close(descriptor)


def head(path: Path) -> bytes:
    """How a backup begins. Raises UsageError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(AGE_HEAD))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}; name a file that `clawkakad backup` made"
        ) from error


async def decrypted(path: Path, target: Path, *, identity: Path | None) -> Path:
    """The plain backup: the file itself, or `target`, mode 0600, where it was encrypted. Raises UsageError."""
    if head(path) == AGE_HEAD:
        if identity is None:
            raise UsageError(f"{path} is encrypted with age: name the key's file with --identity")
        command = [_program("age"), "--decrypt", "--identity", str(identity), str(path)]
    elif path.suffix == GPG:
        command = [_program("gpg"), "--batch", "--quiet", "--decrypt", str(path)]
    else:
        return path
    async with written(target, command):
        pass
    return target


class _File:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def write(self, data: bytes) -> None:
        try:
            await asyncio.to_thread(_write_all, self._descriptor, data)
        except OSError as error:
            raise UsageError(f"the backup cannot be written: {error.strerror}") from error


class _Ended(Exception):
    """The command takes no more; its exit code and words say why."""


class _Pipe:
    def __init__(self, stdin: asyncio.StreamWriter) -> None:
        self._stdin = stdin

    async def write(self, data: bytes) -> None:
        if self._stdin.is_closing():  # asyncio would warn of each piece that goes nowhere
            raise _Ended
        self._stdin.write(data)
        try:
            await self._stdin.drain()
        except ConnectionError as error:
            raise _Ended from error


@contextlib.asynccontextmanager
async def _plain(descriptor: int) -> AsyncIterator[_Stream]:
    yield _File(descriptor)


@contextlib.asynccontextmanager
async def _through(command: Sequence[str], descriptor: int) -> AsyncIterator[_Stream]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=descriptor, stderr=pipe)
    assert process.stdin is not None
    assert process.stderr is not None
    words = asyncio.create_task(process.stderr.read(), name="errors of the encryption")
    whole = True
    try:
        try:
            yield _Pipe(process.stdin)
        except _Ended:
            whole = False
        process.stdin.close()
        with contextlib.suppress(ConnectionError):
            await process.stdin.wait_closed()
        code, said = await process.wait(), (await words).decode(errors="replace").strip()
        if code != 0 or not whole:
            raise UsageError(f"{Path(command[0]).name} failed: {said or f'it ended with exit code {code}'}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await asyncio.gather(words, return_exceptions=True)


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise UsageError(f"{name} is not on this machine: install it (apt-get install {name})")
    return found


def _lock(descriptor: int) -> None:
    """Until it is closed, or the process ends. Raises BlockingIOError where another one has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        pass  # some network file systems have no locks


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
