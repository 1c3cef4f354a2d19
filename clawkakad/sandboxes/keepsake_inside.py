"""The program of the keepsake container: keeps a sandbox's data, or puts it back. Standard library only, Python 3.11.

Run as `python3 -c <this text> DATA STORE`. The first start copies DATA into STORE; any later one makes DATA what it
was then. The last line of output is a report in JSON. Each may be killed in the middle and repeated.

Databases are copied by SQLite itself: a backup may be reading them. Files that are larger than LARGEST and no
databases are neither kept nor touched: no start of an image rewrites a person's videos, and the copy stays small.
"""

import contextlib
import json
import os
import shutil
import sqlite3
import stat
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

MAGIC = b"SQLite format 3\0"
COMPANIONS = ("-wal", "-shm", "-journal")
LARGEST = 64 * 1024**2
SPARE = 256 * 1024**2  # that the disk must have left
BUSY_S = 10.0
KEPT = "kept.tar"
ASIDE = (".restoring", ".before-restore-")  # of restores: nobody's data


def keep(data: Path, store: Path) -> dict[str, object]:
    """Copy what a new image may change. Ends with an error where there is no room for it."""
    _require_room(data, store)
    sound: set[Path] = set()  # their logs are in their copies
    count, partial = 0, store / f"{KEPT}.partial"
    with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in _walk(data):
            name = str(path.relative_to(data))
            if path.is_symlink() or path.is_dir():
                tar.add(path, name, recursive=False)
            elif _is_database(path) and _copied(path, store / "one"):
                shutil.copystat(path, store / "one")
                tar.add(store / "one", name)
                sound.add(path)
                count += 1
            elif _is_kept(path) and _owner(path) not in sound:
                with contextlib.suppress(PermissionError):  # closed even to its owner: nobody changes it either
                    tar.add(path, name)
                    count += 1
    (store / "one").unlink(missing_ok=True)
    _sync(partial)  # only this: the rest of the machine may have a lot to write
    partial.rename(store / KEPT)
    _sync(store)
    return {"files": count, "bytes": (store / KEPT).stat().st_size}


def put_back(data: Path, store: Path) -> dict[str, object]:
    """Make the data what it was: what is new goes, what was changed or removed comes back."""
    with tarfile.open(store / KEPT) as tar:
        kept = {member.name: member for member in tar.getmembers()}
        for path in reversed(list(_walk(data, opening=True))):
            if str(path.relative_to(data)) not in kept and (path.is_symlink() or path.is_dir() or _is_kept(path)):
                _take_away(path)
        for name, member in kept.items():
            _bring(tar, member, data / name)
    for name, member in reversed(kept.items()):
        if member.isdir():
            _sync(data / name)
            (data / name).chmod(stat.S_IMODE(member.mode))
    _sync(data)
    return {"files": sum(member.isreg() for member in kept.values())}


def _bring(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    """One name of the copy, in its place whole or not at all."""
    if member.isdir():
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
            path.mkdir()
        path.chmod(0o700)
        return
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    beside = path.with_name(".put-back")
    beside.unlink(missing_ok=True)
    if member.issym():
        beside.symlink_to(member.linkname)
    else:
        source = tar.extractfile(member)
        assert source is not None
        with open(beside, "wb") as target:
            shutil.copyfileobj(source, target)
        _sync(beside)
        beside.chmod(stat.S_IMODE(member.mode))
        os.utime(beside, (member.mtime, member.mtime))
    beside.rename(path)


def _sync(path: Path) -> None:
    """A file's content, or a directory's names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _take_away(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        with contextlib.suppress(OSError):  # it holds something that stays
            path.rmdir()
    else:
        path.unlink()


def _walk(data: Path, *, opening: bool = False) -> Iterator[Path]:
    """Everything below, each directory before what is in it. `opening`: so that its names can be changed."""
    for where, directories, files in os.walk(data):
        if Path(where) == data:
            directories[:] = [name for name in directories if not name.startswith(ASIDE)]
        if opening and Path(where) != data and os.access(where, os.R_OK | os.X_OK):
            os.chmod(where, 0o700)
        directories.sort()
        yield from (Path(where) / name for name in [*directories, *sorted(files)])


def _is_kept(path: Path) -> bool:
    try:
        facts = path.lstat()
        small = facts.st_size <= LARGEST or _owner(path) is not None  # a log must never meet another database
        return stat.S_ISREG(facts.st_mode) and (small or _is_database(path))
    except OSError:
        return False


def _is_database(path: Path) -> bool:
    try:
        if path.is_symlink() or not path.is_file():
            return False
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def _owner(path: Path) -> Path | None:
    """The database whose log or index a file is by its name."""
    ends = [end for end in COMPANIONS if path.name.endswith(end)]
    return path.with_name(path.name.removesuffix(ends[0])) if ends else None


def _copied(path: Path, copy: Path) -> bool:
    """Whether SQLite could copy it; else it is kept as it lies."""
    copy.unlink(missing_ok=True)
    try:
        with (
            contextlib.closing(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)) as source,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            source.execute("SELECT count(*) FROM sqlite_master")  # `backup` itself would wait for a lock for ever
            source.backup(target)
    except sqlite3.DatabaseError:
        return False
    return True


def _require_room(data: Path, store: Path) -> None:
    size = sum(path.lstat().st_size for path in _walk(data) if _is_kept(path))
    free = shutil.disk_usage(store).free
    if free < size + SPARE:
        raise SystemExit(f"no room for a copy: it needs {size / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free")


def main(data: str, store: str) -> None:
    """Keep, or put back what was kept."""
    done = put_back if (Path(store) / KEPT).exists() else keep
    print(json.dumps(done(Path(data), Path(store))))


if __name__ == "__main__":
    main(*sys.argv[1:])
