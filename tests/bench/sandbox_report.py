"""The numbers of sandboxes as a table for people and as JSON for the next run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from rich.console import Console
from rich.table import Table

from tests.bench.report import shown

Rounds = Mapping[str, Sequence[float]]

Measure = tuple[str, str, float | None]
"""Label, unit, and what the median is to be at most."""

MEASURES: dict[str, Measure] = {
    "cold_reply_s": ("newcomer: first message to reply, cold start", "s", None),
    "cold_cpu_s": ("… CPU of their sandbox", "s", None),
    "spare_reply_s": ("newcomer: first message to reply, with a spare", "s", 8),
    "awake_reply_s": ("awake: message to reply", "s", None),
    "awake_ram_mib": ("awake: memory", "MiB", 480),
    "awake_swap_mib": ("awake: swap", "MiB", None),
    "awake_idle_percent": ("awake: CPU when nobody writes", "%", None),
    "stopped_reply_s": ("asleep: message to reply", "s", 30),
    "boot_s": ("… of it from the container's start to ready", "s", None),
    "boot_reply_cpu_s": ("… CPU of their sandbox", "s", None),
    "doze_s": ("dozing: until it does", "s", None),
    "doze_ram_mib": ("dozing: memory", "MiB", 80),
    "doze_charged_mib": ("dozing: memory with what it has in caches", "MiB", None),
    "doze_swap_mib": ("dozing: swap", "MiB", None),
    "doze_idle_percent": ("dozing: CPU", "%", None),
    "doze_reply_s": ("dozing: message to reply", "s", 6),
    "woken_ram_mib": ("… memory after that", "MiB", None),
    "crowd_dozing": ("crowd: 3 awake, and dozing", "", None),
    "crowd_awake_mib": ("crowd: memory of those awake, with caches", "MiB", None),
    "crowd_dozing_mib": ("crowd: memory of those dozing, with caches", "MiB", None),
    "crowd_swap_mib": ("crowd: swap of all", "MiB", None),
    "daemon_rss_mib": ("crowd: RSS of the daemon", "MiB", None),
    "fit_people": ("people that fit into 4 GiB: 3 awake, the rest dozing", "", None),
    "fit_swap_mib": ("… swap for them", "MiB", None),
    "many_count": ("stand-ins: people of whom nobody writes", "", None),
    "many_made_s": ("stand-ins: made by the benchmark in", "s", None),
    "many_found_s": ("stand-ins: start of the daemon until all are looked at", "s", None),
    "many_found_cpu_s": ("… CPU of the daemon", "s", None),
    "many_round_s": ("stand-ins: a reconcile, longest", "s", None),
    "many_round_cpu_s": ("… CPU of the daemon, most", "s", None),
    "many_idle_percent": ("stand-ins: CPU of the daemon, rounds and all", "%", None),
    "many_rss_mib": ("stand-ins: RSS of the daemon", "MiB", None),
}

NOTES = (
    "Replies are from the webhook to the whole answer, through a tool call, with the offline model.",
    "Fit: 512 MiB for the system and the engine and the daemon's RSS are taken off 4096 MiB; the crowd is measured,"
    " those beyond it are counted as many times as one of its dozing people takes, on average.",
)


@dataclass(frozen=True)
class Line:
    """One measure: the median of its rounds, and the rounds themselves."""

    name: str
    label: str
    unit: str
    value: float
    rounds: list[float]
    reach: float | None
    met: bool | None


def lines(rounds: Rounds) -> list[Line]:
    """What was measured, in the order of the table."""
    return [_line(name, rounds[name]) for name in MEASURES if name in rounds]


def _line(name: str, rounds: Sequence[float]) -> Line:
    label, unit, reach = MEASURES[name]
    value = median(rounds)
    return Line(name, label, unit, value, list(rounds), reach, None if reach is None else value <= reach)


def table(found: Sequence[Line]) -> Table:
    """For people."""
    made = Table(title="Sandboxes: real OpenClaw on the real engine")
    made.add_column("")
    for heading in ("median", "least", "most", "reach"):
        made.add_column(heading, justify="right")
    made.add_column("met")
    for line in found:
        met = "" if line.met is None else "[green]yes[/]" if line.met else "[red]no[/]"
        reach = "" if line.reach is None else f"≤ {line.reach:g} {line.unit}"
        spread = [shown(choose(line.rounds), "") if len(line.rounds) > 1 else "" for choose in (min, max)]
        made.add_row(line.label, shown(line.value, line.unit), *spread, reach, met)
    return made


def show(found: Sequence[Line], missing: Sequence[str], console: Console) -> None:
    console.print(table(found))
    for note in NOTES:
        console.print(note)
    for what in missing:
        console.print(f"[yellow]Not measured: {what}[/]")
