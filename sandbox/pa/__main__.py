"""Runs the program when Python is given this directory: `python3 -I /usr/local/lib/clawkaka/pa ...`."""

import sys
from pathlib import Path

if not __package__:
    # A directory that is run becomes the import path itself; the package is one step above it.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from pa.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
