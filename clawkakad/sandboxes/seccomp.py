"""The system calls that a sandbox may make: `seccomp.json` beside this, as the engine takes it. Pure but for one read.

The file is in the engine's own format, grouped, each group with its reason. The comments stay here.
"""

import json
from functools import cache
from importlib import resources
from typing import Any

FILE = "seccomp.json"
PREFIX = "seccomp="


@cache
def seccomp_option() -> str:
    """The entry for the engine's `SecurityOpt`."""
    return PREFIX + json.dumps(_without_comments(document()), separators=(",", ":"), sort_keys=True)


def document() -> Any:
    """The file's content."""
    return json.loads(resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8"))


def _without_comments(document: Any) -> Any:
    groups = [{key: value for key, value in group.items() if key != "comment"} for group in document["syscalls"]]
    return {**{key: value for key, value in document.items() if key != "comment"}, "syscalls": groups}
