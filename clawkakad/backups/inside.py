"""The program of the copier container: packs a sandbox's /data, and puts it back. Standard library only, Python 3.11.

Run as `python3 -c <this text> MODE DATA EXCHANGE …`; its last line of output is a report in JSON.

  out DATA EXCHANGE WITHOUT…           DATA → EXCHANGE/data.tar.gz, its SQLite databases copied by SQLite itself; what
                                       has such a name at the top of DATA is passed over
  stage DATA EXCHANGE DAMAGED          EXCHANGE/data.tar.gz → DATA/.restoring, and every database is checked but
                                       those that the archive marks, or DAMAGED names, as damaged when packed
  swap DATA EXCHANGE STAMP             what is in DATA → DATA/.before-restore-STAMP, then DATA/.restoring → DATA
  clean DATA EXCHANGE PREFIX…          what is in DATA and begins so goes: leavings of restores

An agent may be hostile: what is too big is left out and named, and a database that it keeps locked is taken as it lies.
Nobody has to hold still: a database is copied in one read transaction of its own, with its writers going on; a file
that vanishes is left out. But for `clean` nothing is deleted but a `.restoring` of before. Each may be repeated.
"""

import contextlib
import errno
import gzip
import itertools
import json
import os
import shutil
import sqlite3
import stat
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

MAGIC = b"SQLite format 3\0"
CHUNK = 256 * 1024
FULL = (errno.ENOSPC, errno.EDQUOT)
COMPANIONS = ("-wal", "-shm", "-journal")
MOST_NAMES = 10  # of each kind in the report: a manifest and the engine's log hold so many, and nobody reads more
LONGEST_NAME = 200
LONGEST_PATH = 4000  # bytes; with `.restoring` before it the kernel must take it too
DAMAGED = "CLAWKAKA.damaged"  # a header of ours in the archive, which no agent can write
DEEPEST = 60
STAGED = ".restoring"
ASIDE = ".before-restore-"
BUSY_S = 10.0  # for all locked databases together
LARGEST_FILE = 2 * 1024**3  # by its length: a file of holes has no size on the disk
LARGEST = 16 * 1024**3
OWN = (STAGED, ASIDE)


class Packing:
    """Data on their way into an archive. `one`: where a file is copied to first, so that it does not change its size.

    What fails at the agent's file leaves that file out; what fails at the archive ends the program.
    """

    def __init__(self, tar: tarfile.TarFile, one: Path) -> None:
        self._tar = tar
        self._one = one
        self._total = 0
        self._patience = time.monotonic() + BUSY_S
        self.databases = 0
        self.damaged: list[str] = []
        self.left_out: list[str] = []

    def add(self, path: Path, name: str) -> None:
        """A file, directory or link, unless it vanishes; what is too big or cannot be read is left out and named."""
        try:
            self._add(path, name)
        except FileNotFoundError:
            pass
        except OSError as error:  # closed even to its owner, or a name too long
            if error.errno in FULL:
                raise SystemExit(f"there is no room for the copy: {error.strerror}") from error
            self.left_out.append(f"{name}: {error.strerror}")

    def _add(self, path: Path, name: str) -> None:
        if len(os.fsencode(name)) > LONGEST_PATH:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        if path.is_symlink() or path.is_dir():
            self._put(path, name)
        elif not self._has_room_for(path.stat().st_size):
            self.left_out.append(f"{name}: too big")
        elif _is_database(path):
            self.databases += 1
            if not self._add_database(path, name):
                self.damaged.append(name)
        elif path.is_file() and not _is_companion(path):
            self._put(_copy(path, self._one), name)

    def _has_room_for(self, size: int) -> bool:
        if size > LARGEST_FILE or self._total + size > LARGEST:
            return False
        self._total += size
        return True

    def _add_database(self, path: Path, name: str) -> bool:
        """Add a consistent copy; the bare files, and False, where SQLite cannot read it, or finds it broken."""
        if _copy_database(path, self._one, self._patience - time.monotonic()):
            shutil.copystat(path, self._one)
            self._put(self._one, name)
            return True
        for end in ("", *COMPANIONS):
            part = path.with_name(path.name + end)
            if part == path or not _is_database(part):  # which is packed in its own turn
                with contextlib.suppress(FileNotFoundError):
                    self._put(_copy(part, self._one), name + end, {DAMAGED: "1"})
        return False

    def _put(self, path: Path, name: str, marks: dict[str, str] | None = None) -> None:
        member = self._tar.gettarinfo(path, name)
        member.pax_headers = marks or {}
        with contextlib.ExitStack() as stack:
            content = stack.enter_context(path.open("rb")) if member.isreg() else None
            try:
                self._tar.addfile(member, content)
            except OSError as error:
                raise SystemExit(f"the copy cannot be written: {error.strerror}") from error


def copy_out(data: Path, exchange: Path, without: tuple[str, ...] = ()) -> dict[str, object]:
    """Pack everything but restores' leavings and `without`. Ends with an error if the archive cannot be written."""
    archive = exchange / "data.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=3) as tar:
        packing = Packing(tar, exchange / "one")
        for path in _walk(data, packing.left_out, without):
            packing.add(path, str(path.relative_to(data)))
    (exchange / "one").unlink(missing_ok=True)
    with gzip.open(archive) as written:  # as it lies on the disk, with its checksum
        while written.read(CHUNK):
            pass
    left_out, damaged = _some(packing.left_out), _some(packing.damaged)
    return {"databases": packing.databases, "damaged": damaged, "left_out": left_out}


def stage(data: Path, exchange: Path, damaged: frozenset[str]) -> dict[str, object]:
    """Unpack beside what is there. Ends with an error where a database is not whole that was whole when packed."""
    staged = data / STAGED
    _remove(staged)
    staged.mkdir(mode=0o700)
    with tarfile.open(exchange / "data.tar.gz") as tar:
        tar.extractall(staged)  # noqa: S202 (our own, by its checksum; and nothing is in reach but this volume)
        damaged |= {member.name for member in tar if DAMAGED in member.pax_headers}
    databases = [path for path in _walk(staged, []) if path.is_file() and not path.is_symlink() and _is_database(path)]
    for path in databases:
        name = str(path.relative_to(staged))
        shutil.copyfile(path, exchange / "one")  # SQLite writes beside what it opens
        if name not in damaged and not _is_whole(exchange / "one"):
            raise SystemExit(f"the database {_cut(name)} is damaged")
    os.sync()
    return {"databases": len(databases)}


def swap(data: Path, stamp: str) -> dict[str, object]:
    """One rename for each name at the top: after a crash in the middle everything is still there, old and new."""
    names = itertools.chain([stamp], (f"{stamp}-{number}" for number in itertools.count(2)))
    aside = next(path for name in names if not (path := data / f"{ASIDE}{name}").exists())
    staged = data / STAGED
    if not staged.is_dir():
        raise SystemExit("nothing was staged")
    for path in sorted(data.iterdir()):
        if not path.name.startswith(OWN):
            aside.mkdir(mode=0o700, exist_ok=True)
            _move(path, aside / path.name)
    for path in sorted(staged.iterdir()):
        _move(path, data / path.name)
    staged.rmdir()
    os.sync()
    return {"aside": sum(_taken(path) for path in data.glob(f"{ASIDE}*"))}


def clean(data: Path, prefixes: tuple[str, ...]) -> dict[str, object]:
    """Remove what restores left; how much that was."""
    found = [path for path in data.iterdir() if path.name.startswith(prefixes)]
    freed = sum(map(_taken, found))
    for path in found:
        _remove(path)
    return {"freed": freed}


def _some(names: list[str]) -> list[str]:
    """An agent can make up any number of them, of any length."""
    more = [f"and {len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else []
    return [_cut(name) for name in names[:MOST_NAMES]] + more


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"…{name[-LONGEST_NAME:]}"


def _walk(root: Path, left_out: list[str], without: tuple[str, ...] = ()) -> Iterator[Path]:
    """Everything below, each directory before what is in it; what is too deep or closed is added to `left_out`."""

    def note(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            left_out.append(f"{os.path.relpath(error.filename, root)}: {error.strerror}")

    for where, directories, files in os.walk(root, onerror=note):
        if Path(where) == root:
            for names in (directories, files):
                names[:] = [name for name in names if not name.startswith(OWN) and name not in without]
        if len(Path(where).relative_to(root).parts) >= DEEPEST and directories:
            left_out.append(f"{os.path.relpath(where, root)}: too deep")
            directories.clear()
        directories.sort()
        yield from (Path(where) / name for name in [*directories, *sorted(files)])


def _copy(path: Path, target: Path) -> Path:
    """With its mode, which may close it to its owner: then nothing could be written over it."""
    target.unlink(missing_ok=True)
    shutil.copy2(path, target)
    return target


def _move(path: Path, target: Path) -> None:
    """A directory that is closed to its owner cannot change its place."""
    mode = path.lstat().st_mode
    if stat.S_ISDIR(mode):
        path.chmod(0o700)
    path.rename(target)
    if stat.S_ISDIR(mode):
        target.chmod(stat.S_IMODE(mode))


def _taken(path: Path) -> int:
    """The bytes on the disk of a tree, as far as it is open to its owner."""
    size = 0
    for one in (path, *(Path(where) / name for where, inner, files in os.walk(path) for name in [*inner, *files])):
        with contextlib.suppress(OSError):
            size += one.lstat().st_blocks * 512
    return size


def _remove(directory: Path) -> None:
    """A whole tree, closed directories too; and what an agent put in its place."""
    if directory.is_symlink() or not directory.is_dir():
        directory.unlink(missing_ok=True)
        return
    directory.chmod(0o700)
    for where, directories, _ in os.walk(directory):
        for name in directories:
            if not (Path(where) / name).is_symlink():
                (Path(where) / name).chmod(0o700)
    shutil.rmtree(directory)


def _is_database(path: Path) -> bool:
    if not path.is_file() or path.is_symlink():
        return False
    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _is_companion(path: Path) -> bool:
    """A database's log or index: what is in it is in the copy of the database."""
    return any(
        path.name.endswith(end) and _is_database(path.with_name(path.name.removesuffix(end))) for end in COMPANIONS
    )


def _copy_database(path: Path, copy: Path, busy_s: float) -> bool:
    """A consistent copy. False where SQLite cannot read it, or finds it broken."""
    copy.unlink(missing_ok=True)
    try:
        with (
            contextlib.closing(sqlite3.connect(path, timeout=max(0.1, busy_s), isolation_level=None)) as source,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_master")  # `backup` itself would wait for a lock for ever
            source.backup(target)
        return _is_whole(copy)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        return False


def _is_whole(path: Path) -> bool:
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            return bool(connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok")
    except sqlite3.DatabaseError:
        return False


def main(mode: str, data: str, exchange: str, *more: str) -> None:
    """One of the four; its report on standard output."""
    if mode == "out":
        report = copy_out(Path(data), Path(exchange), more)
    elif mode == "stage":
        report = stage(Path(data), Path(exchange), frozenset(json.loads(more[0])))
    elif mode == "swap":
        report = swap(Path(data), more[0])
    else:
        report = clean(Path(data), more)
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
