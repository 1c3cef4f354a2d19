"""Room for the write-ahead log, made before it is needed.

A commit that makes the log's file longer waits for the file system's own journal as well; one that writes over what is
there already does not (ext4, eight pages, one commit after the other: 193 and 118 us; with a pause between them, 550
and 460). SQLite takes no file back, and begins anew at its start when all of it is copied: so a registry that is
written to for long does well by itself, and one that has just been opened does not.
What is found behind the last frame is none to SQLite, which knows its own by salt and checksum
(https://www.sqlite.org/fileformat2.html#the_write_ahead_log).
"""

import os
import shutil
from pathlib import Path

from loguru import logger

LOG_ROOM = 8 * 1024 * 1024
"""Bytes: what is written between two copies, where one message comes after the other and pages have 4 KiB. With the
smaller ones of a new registry it is more than enough."""

_SPARE = 16  # times as much as it takes must be free: a full disk has better uses
_ZEROS = bytes(1024 * 1024)


def make_room(database: Path, size: int) -> None:
    """Make the log of an open database so long, with zeros behind what is in it. No harm where that cannot be."""
    try:
        if shutil.disk_usage(database).free >= _SPARE * size:
            _lengthen(Path(f"{database}-wal"), size)
    except OSError as error:
        logger.debug("no room was made for the registry's log", error=str(error))


def _lengthen(log: Path, size: int) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)  # others may write to it, and nothing is lost
    try:
        while (missing := size - os.fstat(descriptor).st_size) > 0:
            os.write(descriptor, _ZEROS[:missing])
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
