"""The numbers as a table for people and as JSON for the next run."""

import json
import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

PEERS_BUSY = 0.9  # of their core
CORE_GOT = 0.8  # what a saturated program has of a core of its own, and a bit less

Rounds = Mapping[str, Sequence[float]]
"""The values of a measure, one for each round."""


@dataclass(frozen=True)
class Reach:
    """What is to be reached: a share of the relay's value, or a value."""

    text: str
    met: Callable[[float, float | None], bool]


def at_most(factor: float) -> Reach:
    return Reach(f"≤ {factor:g} × relay", lambda ours, relay: relay is not None and ours <= factor * relay)


def at_least(factor: float) -> Reach:
    return Reach(f"≥ {factor:g} × relay", lambda ours, relay: relay is not None and ours >= factor * relay)


def below(limit: float, unit: str = "") -> Reach:
    return Reach(f"< {limit:g} {unit}".strip(), lambda ours, _: ours < limit)


NONE_AT_ALL = Reach("0", lambda ours, _: ours == 0)

Measure = tuple[str, str, Reach | None]
"""Label, unit, reach."""

MEASURES: dict[str, Measure] = {
    "ack_p50_ms": ("acknowledgement p50", "ms", None),
    "ack_p99_ms": ("acknowledgement p99", "ms", None),
    "overhead_p50_ms": ("overhead of the way p50", "ms", at_most(1.5)),
    "overhead_p99_ms": ("overhead of the way p99", "ms", at_most(2)),
    "way_in_p50_ms": ("… of it from the webhook to the agent", "ms", None),
    "way_out_p50_ms": ("… of it from the agent to Meta", "ms", None),
    "cpu_light_s": ("CPU per 1,000 messages, light load", "s", at_most(1.5)),
    "cpu_saturated_s": ("CPU per 1,000 messages, saturated", "s", at_most(1.5)),
    "saturated_per_s": ("messages per second, saturated", "/s", at_least(0.7)),
    "rss_*_mib": ("RSS, people connected: *", "MiB", None),
    "rss_1000_mib": ("RSS, people connected: 1000", "MiB", at_most(2)),
    "idle_*_percent": ("CPU idle, people connected: *", "%", None),
    "flood_per_s": ("flood: webhooks per second", "/s", None),
    "flood_p50_ms": ("flood: acknowledgement p50", "ms", None),
    "flood_p99_ms": ("flood: acknowledgement p99", "ms", below(250, "ms")),
    "flood_max_ms": ("flood: acknowledgement max", "ms", None),
    "flood_cpu_percent": ("flood: CPU", "%", None),
    "flood_turns": ("flood: messages that reached their agent meanwhile", "", None),
    "flood_refused": ("flood: not answered with 200", "", NONE_AT_ALL),
    "flood_lost": ("flood: answered with 200, not on disk", "", NONE_AT_ALL),
}


@dataclass(frozen=True)
class Line:
    """One measure: medians over the rounds, and the rounds themselves."""

    name: str
    label: str
    unit: str
    ours: float
    relay: float | None
    ratio: float | None
    reach: str
    met: bool | None
    ours_rounds: list[float]
    relay_rounds: list[float]


def lines(ours: Rounds, relay: Rounds) -> list[Line]:
    """What was measured, in the order of the table. A ratio is taken of the medians of rounds that alternated."""
    kinds = list(MEASURES)
    known = [(kinds.index(kind), name) for name in ours if (kind := _kind(name))]
    return [_line(name, ours[name], relay.get(name, ())) for _, name in sorted(known, key=lambda pair: pair[0])]


def _kind(name: str) -> str | None:
    """Its key in MEASURES: its own name, or the one of its like for any number of people."""
    return next((kind for kind in (name, re.sub(r"\d+", "*", name)) if kind in MEASURES), None)


def _line(name: str, ours: Sequence[float], relay: Sequence[float]) -> Line:
    label, unit, reach = MEASURES[_kind(name) or name]
    mine, theirs = median(ours), median(relay) if relay else None
    return Line(
        name=name,
        label=label.replace("*", re.sub(r"\D", "", name)),
        unit=unit,
        ours=mine,
        relay=theirs,
        ratio=mine / theirs if theirs else None,
        reach=reach.text if reach else "",
        met=reach.met(mine, theirs) if reach else None,
        ours_rounds=list(ours),
        relay_rounds=list(relay),
    )


def table(found: Sequence[Line]) -> Table:
    """For people."""
    made = Table(title="The message path: clawkakad beside a bare relay")
    made.add_column("")
    for heading in ("ours", "relay", "ratio"):
        made.add_column(heading, justify="right")
    made.add_column("reach")
    made.add_column("met")
    for line in found:
        met = "" if line.met is None else "[green]yes[/]" if line.met else "[red]no[/]"
        ratio = "" if line.ratio is None else f"{line.ratio:.2f}"
        made.add_row(line.label, shown(line.ours, line.unit), shown(line.relay, line.unit), ratio, line.reach, met)
    return made


def shown(value: float | None, unit: str) -> str:
    """In as many digits as mean something."""
    if value is None:
        return ""
    digits = 0 if value >= 100 or value == int(value) else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}".strip()


def doubts(**programs: Rounds) -> list[str]:
    """Where something else than the program was measured: peers without time to spare, or a busy machine."""
    found = []
    for program, rounds in programs.items():
        busy = [name for name in ("peers_saturated", "peers_flood") if max(rounds.get(name, [0.0])) > PEERS_BUSY]
        found += [f"{program}: its peers had no time to spare ({name})" for name in busy]
        got = min(rounds.get("core_saturated", [1.0]))
        if got < CORE_GOT:
            found.append(f"{program}: got only {got:.0%} of its core when saturated; is the machine busy?")
        refused = max(rounds.get("refused_saturated", [0.0]))
        if refused:
            found.append(f"{program}: {refused:.0f} webhooks were refused and came again")
        flood = min(rounds.get("flood_cpu_percent", [100.0])) / 100
        if flood < CORE_GOT and max(rounds.get("flood_refused", [0.0])) > 0:
            found.append(f"{program}: did not hold the flood, with only {flood:.0%} of its core; is the machine busy?")
    return found


def show(found: Sequence[Line], warnings: Sequence[str], console: Console) -> None:
    console.print(table(found))
    for warning in warnings:
        console.print(f"[yellow]{warning}[/]")


def keep(what: str, found: Sequence[Any], about: Mapping[str, object], directory: Path) -> Path:
    """Write everything as JSON; the path. `what`: was measured; `found`: dataclasses."""
    now = datetime.now(UTC)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{what}-{now:%Y%m%d-%H%M%S}.json"
    machine = {"cores": len(os.sched_getaffinity(0)), "kernel": platform.release(), "python": platform.python_version()}
    machine |= {"load_average": os.getloadavg()}
    document = {"at": now.isoformat(timespec="seconds"), "machine": machine, **about}
    document["measures"] = [asdict(line) for line in found]
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path
