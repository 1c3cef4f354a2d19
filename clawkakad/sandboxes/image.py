"""What the sandbox image is made from, as values: its source, its hash, its base, its build's steps. Starts nothing.

`image_build.py` beside this file does what is decided here. Invariants: the same files and build arguments give the
same hash and the same build context, byte for byte, whoever owns the files and whenever they were written.
"""

import hashlib
import io
import re
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from clawkakad.errors import UsageError

DEFAULT_TAG = "clawkaka-sandbox:latest"
SOURCE_LABEL = "clawkaka.source"
STAGE_LABEL = "clawkaka.stage"
"""Marks what a build leaves behind besides the image, so that old leavings can be told from other people's images."""

PULLED_BASE = "debian:bookworm-slim"
MADE_BASE = "clawkaka-base:bookworm"
SUITE = "bookworm"

_IGNORED_DIRECTORIES = frozenset({"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", "extra-ca"})
_IGNORED_SUFFIXES = frozenset({".pyc", ".md~", ".swp"})
_IGNORED_FILES = frozenset({"README.md", ".dockerignore"})
_STEP = re.compile(r"Step (\d+)/(\d+) : (.*)")
_LAYER = re.compile(r"^ ---> (?:Running in )?([0-9a-f]{12})$|^Successfully built ([0-9a-f]{12})$")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

# What a step means to somebody who waits for it. The first that is found in the instruction counts.
_MEANINGS = (
    ("libatomic1", "Installing Debian's packages"),
    ("npm ci", "Installing Node and OpenClaw"),
    ("binutils", "Installing the tools of the build"),
    ("warm.mjs", "Starting the agent once, to fill its compile cache"),
    ("trim-system", "Trimming the system"),
    ("COPY --from=root", "Laying out the system"),
    ("COPY --from=agent", "Laying out the agent"),
    ("compileall", "Laying out the PA's tools"),
)


@dataclass(frozen=True)
class Step:
    """One step of a build: `number` of `total` (both 0 for what happens around it), and what it does."""

    number: int
    total: int
    text: str


def source_directory() -> Path:
    """The `sandbox/` of this checkout. Raises UsageError where there is none."""
    directory = Path(__file__).resolve().parents[2] / "sandbox"
    if not (directory / "Dockerfile").is_file():
        raise UsageError("the image's source is not here: run this from a checkout, or give it with --source DIRECTORY")
    return directory


def source_files(directory: Path) -> list[Path]:
    """The files that make the image, relative to `directory`, in a fixed order."""
    found = (path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    return sorted(path for path in found if not _ignored(path))


def source_hash(directory: Path, build_args: Mapping[str, str]) -> str:
    """A short hash of names, modes and contents of the source, and of the build arguments."""
    digest = hashlib.sha256()
    for path in source_files(directory):
        content = (directory / path).read_bytes()
        digest.update(f"{path.as_posix()}\0{_mode(directory / path):o}\0{len(content)}\0".encode() + content)
    for name in sorted(build_args):
        digest.update(f"{name}={build_args[name]}\0".encode())
    return digest.hexdigest()[:16]


def build_context(directory: Path, ca_bundle: bytes | None) -> bytes:
    """The source as a tar for the engine, with the host's CA bundle in `extra-ca/`; the last stage has none of it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in source_files(directory):
            _add(tar, path.as_posix(), (directory / path).read_bytes(), _mode(directory / path))
        _add(tar, "extra-ca/bundle.crt", ca_bundle or b"", 0o644)
    return buffer.getvalue()


def plain(line: str) -> str:
    """A line of output without colours and line ends."""
    return _COLOUR.sub("", line).rstrip()


def parse_step(line: str) -> Step | None:
    """The step that a line of the builder's output begins, if it begins one."""
    match = _STEP.match(line)
    if match is None:
        return None
    return Step(int(match[1]), int(match[2]), describe(match[3]))


def describe(instruction: str) -> str:
    """An instruction of the Dockerfile in words, or its own first words."""
    for mark, meaning in _MEANINGS:
        if mark in instruction:
            return meaning
    words = " ".join(instruction.split())
    return words if len(words) <= 60 else words[:59] + "…"


def parse_layer(line: str) -> str | None:
    """The short id of a layer (or of a container of the build) that a line of the builder's output names."""
    match = _LAYER.match(line)
    return (match[1] or match[2]) if match else None


def debian_sources(os_release: str, apt_files: Mapping[str, str]) -> list[str]:
    """`deb` lines for our suite at the mirrors that this host itself uses for Debian; empty on another system.

    `apt_files`: name to text of /etc/apt/sources.list and of the files in sources.list.d. A host of another Debian
    release has a mirror that carries ours as well. Other people's archives are left out: only the archive's own
    suites with the component `main`, from a path with a directory called debian, and not signed by another key.
    """
    facts = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    codename = facts.get("VERSION_CODENAME", "").strip('"')
    if facts.get("ID", "").strip('"') != "debian" or not codename:
        return []
    lines: dict[str, None] = {}
    for name in sorted(apt_files):
        stanzas = _deb822 if name.endswith(".sources") else _one_line
        for uri, suite, components, signed_by in stanzas(apt_files[name]):
            if _is_debian(uri, suite, codename, components, signed_by):
                lines[f"deb {uri} {suite.replace(codename, SUITE, 1)} main"] = None
    return list(lines)


def _ignored(path: Path) -> bool:
    return (
        not _IGNORED_DIRECTORIES.isdisjoint(path.parts)
        or path.suffix in _IGNORED_SUFFIXES
        or path.as_posix() in _IGNORED_FILES
    )


def _mode(path: Path) -> int:
    """Only whether it may be executed: the rest depends on the umask of whoever made the checkout."""
    return 0o755 if path.stat().st_mode & 0o100 else 0o644


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


_Source = tuple[str, str, list[str], str]
"""URI, suite, components, and what it is signed by (empty if the file does not say)."""


def _one_line(text: str) -> Iterable[_Source]:
    """sources.list(5), the one-line style: `deb [options] uri suite component...`."""
    for line in text.splitlines():
        match = re.match(r"deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]*)", line.strip())
        if match:
            signed_by = re.search(r"signed-by=(\S+)", match[1] or "")
            yield match[2], match[3], match[4].split(), signed_by[1] if signed_by else ""


def _deb822(text: str) -> Iterable[_Source]:
    """sources.list(5), the deb822 style: stanzas of fields, with lists in them."""
    for stanza in re.split(r"\n\s*\n", text):
        kept = [line for line in stanza.splitlines() if not line.startswith("#")]
        fields = {
            name.strip().lower(): value.split()
            for name, _, value in (line.partition(":") for line in kept if not line.startswith((" ", "\t")))
        }
        if "deb" not in fields.get("types", []) or fields.get("enabled") == ["no"]:
            continue
        for uri in fields.get("uris", []):
            for suite in fields.get("suites", []):
                yield uri, suite, fields.get("components", []), " ".join(fields.get("signed-by", []))


def _is_debian(uri: str, suite: str, codename: str, components: list[str], signed_by: str) -> bool:
    return (
        suite in {codename, f"{codename}-updates", f"{codename}-security"}
        and "main" in components
        and any(part in {"debian", "debian-security"} for part in uri.split("/"))
        and (not signed_by or "debian-archive" in signed_by)
    )
