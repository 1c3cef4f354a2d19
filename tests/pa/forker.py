"""Runs the program many times, quickly: imports it once, then forks a process for each run.

Started as a script with the sandbox folder as argument; reads a JSON object per line, `{"words": [...],
"environment": {...}}`, answers each with `{"code": ..., "out": ..., "err": ...}`. Each run is a process of its own with
its own environment and streams; only the time of the imports is saved (a hundred milliseconds, some hundred times).
"""

import json
import os
import sys
import tempfile
from typing import Any


def run_once(main: Any, words: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """One run of `main` in a child."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os.environ.clear()
            os.environ.update(environment)
            code = 1  # a traceback, which the tests never allow
            try:
                code = main(words)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        return {"code": os.waitstatus_to_exitcode(status), "out": _read(out), "err": _read(err)}


def _read(stream: Any) -> str:
    stream.seek(0)
    text: str = stream.read().decode("utf-8")
    return text


def serve() -> None:
    """Until standard input ends."""
    sys.path[0] = sys.argv[1]
    from pa.cli import main

    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(run_once(main, asked["words"], asked["environment"])), flush=True)


if __name__ == "__main__":
    serve()
