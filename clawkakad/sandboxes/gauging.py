"""The program of the gauge container: how much a volume takes. Standard library only, Python 3.11.

Run as `python3 -c <this text> VOLUME INODES SECONDS`; its last line of output is a report in JSON.

What counts is what the file system gave away: blocks, so that a file of holes is small, and one whose blocks were
taken in advance is not. Files that were deleted and are still open count too: they are found at the processes that hold
them, as far as the PID namespace shows these.

An agent may be hostile: nothing is followed, no path is put together (a deep one would be too long), each file counts
once however many names it has, and the walk ends at so many inodes or after so many seconds, and says so.
"""

import json
import os
import stat
import sys
import time
from collections.abc import Iterator


class Cut(Exception):
    """As far as the walk went: `why` in one word."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Tally:
    """What was seen so far. `device`: of the volume, since nothing else counts."""

    def __init__(self, device: int, inodes: int, seconds: float) -> None:
        self._device = device
        self._most = inodes
        self._deadline = time.monotonic() + seconds
        self._seen: set[int] = set()  # inodes with several names, or none
        self.bytes = 0
        self.inodes = 0

    def add(self, found: os.stat_result) -> None:
        """Count a file, once. Raises Cut where that was one too many, or it took too long."""
        if found.st_dev != self._device:
            return
        if found.st_nlink != 1 and not stat.S_ISDIR(found.st_mode):
            if found.st_ino in self._seen:
                return
            self._seen.add(found.st_ino)
        self.bytes += found.st_blocks * 512
        self.inodes += 1
        if self.inodes > self._most:
            raise Cut("inodes")
        self.look_at_the_clock()

    def look_at_the_clock(self) -> None:
        """Raises Cut when it is over."""
        if time.monotonic() > self._deadline:
            raise Cut("seconds")


def walk(top: int, tally: Tally) -> None:
    """Everything below a directory; depth first, with one open directory for each level."""
    levels = [(top, _count(top, tally))]
    while levels:
        directory, below = levels[-1]
        if not below:
            os.close(directory)
            levels.pop()
            continue
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            inner = os.open(below.pop(), flags, dir_fd=directory)
        except OSError as error:
            if error.errno in _OUT_OF_FILES:
                raise Cut("depth") from error
            continue  # gone, or another thing by now
        levels.append((inner, _count(inner, tally)))


_OUT_OF_FILES = (23, 24)  # ENFILE, EMFILE


def _count(directory: int, tally: Tally) -> list[str]:
    """Count what is in one directory; the names of the directories in it."""
    below = []
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                found = os.stat(entry.name, dir_fd=directory, follow_symlinks=False)
            except OSError:
                continue  # gone meanwhile
            tally.add(found)
            if stat.S_ISDIR(found.st_mode):
                below.append(entry.name)
    return below


def add_deleted(tally: Tally) -> None:
    """Files without a name that a process has open."""
    for path in _descriptors(tally):
        try:
            found = os.stat(path)
        except OSError:
            continue
        if found.st_nlink == 0 and stat.S_ISREG(found.st_mode):
            tally.add(found)


def _descriptors(tally: Tally) -> Iterator[str]:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) == os.getpid():
            continue
        try:
            names = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue  # it has ended
        for name in names:
            tally.look_at_the_clock()
            yield f"/proc/{pid}/fd/{name}"


def main(volume: str, inodes: str, seconds: str) -> dict[str, object]:
    """The report. `cut`: why there may be more than it says; empty: there is not."""
    top = os.open(volume, os.O_RDONLY | os.O_DIRECTORY)
    tally = Tally(os.fstat(top).st_dev, int(inodes), float(seconds))
    cut = ""
    try:
        walk(top, tally)
        add_deleted(tally)
    except Cut as end:
        cut = end.why
    return {"bytes": tally.bytes, "inodes": tally.inodes, "cut": cut}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
