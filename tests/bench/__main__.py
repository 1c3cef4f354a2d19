"""`scripts/bench message`: measure, show a table, keep the numbers.

Exit code 1 where a message was lost or answered twice; a number that is not reached is no failure, but a finding.
"""

import argparse
import asyncio
import dataclasses
import sys
from pathlib import Path

from rich.console import Console

from tests.bench.message import PARTS, QUICK, Plan, run
from tests.bench.phases import WrongAnswers
from tests.bench.process import allow_descriptors
from tests.bench.report import doubts, keep, lines, show

KEPT = Path(__file__).parent.parent.parent / ".clawkaka" / "bench"


def main(arguments: list[str] | None = None, console: Console | None = None) -> int:
    """The command; returns its exit code."""
    console = console or Console(width=110)
    chosen = _parser().parse_args(arguments)
    plan = dataclasses.replace(
        QUICK if chosen.quick else Plan(), parts=chosen.part or PARTS, settings=dict(chosen.set or ())
    )
    if chosen.rounds is not None:
        plan = dataclasses.replace(plan, rounds=chosen.rounds)
    allow_descriptors()
    try:
        results = asyncio.run(run(plan))
    except WrongAnswers as error:
        console.print(f"[red]{error}[/]")
        return 1
    found = lines(results.ours, results.relay)
    show(found, doubts(ours=results.ours, relay=results.relay), console)
    path = keep(found, {"quick": chosen.quick, "plan": dataclasses.asdict(plan)}, chosen.out)
    console.print(f"Kept in {path}", soft_wrap=True)
    lost = any(line.ours for line in found if line.name == "flood_lost")
    return 1 if lost else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("what", choices=["message"], help="what to measure: the message path")
    parser.add_argument("--quick", action="store_true", help="a little of everything, to see that it works")
    parser.add_argument("--rounds", type=int, help="how often both programs are measured in turns (3)")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this part; may be given again")
    parser.add_argument("--set", action="append", type=_setting, metavar="NAME=VALUE", help="of the daemon, besides")
    parser.add_argument("--out", type=Path, default=KEPT, help="where the JSON goes (.clawkaka/bench)")
    return parser


def _setting(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError("must look like NAME=VALUE")
    return name, value


if __name__ == "__main__":
    sys.exit(main())
