"""`scripts/bench message|sandboxes`: measure, show a table, keep the numbers.

Exit code 1 where a message was lost or answered twice, or a sandbox did not do what it should; a number that is not
reached is no failure, but a finding.
"""

import argparse
import asyncio
import dataclasses
import signal
import sys
from pathlib import Path

from rich.console import Console

from tests.bench import message, sandbox_report, sandboxes
from tests.bench.phases import WrongAnswers
from tests.bench.process import allow_descriptors
from tests.bench.report import doubts, keep, lines, show

KEPT = Path(__file__).parent.parent.parent / ".clawkaka" / "bench"
PARTS = {"message": message.PARTS, "sandboxes": sandboxes.PARTS}


def main(arguments: list[str] | None = None, console: Console | None = None) -> int:
    """The command; returns its exit code."""
    console = console or Console(width=110)
    parser = _parser()
    chosen = parser.parse_args(arguments)
    strange = set(chosen.part or ()) - set(PARTS[chosen.what])
    if strange:
        parser.error(f"{chosen.what} has these parts: {', '.join(PARTS[chosen.what])}")
    allow_descriptors()
    return (_message if chosen.what == "message" else _sandboxes)(chosen, console)


def _message(chosen: argparse.Namespace, console: Console) -> int:
    plan = dataclasses.replace(
        message.QUICK if chosen.quick else message.Plan(),
        parts=chosen.part or message.PARTS,
        settings=dict(chosen.set or ()),
    )
    if chosen.rounds is not None:
        plan = dataclasses.replace(plan, rounds=chosen.rounds)
    try:
        results = asyncio.run(message.run(plan))
    except WrongAnswers as error:
        console.print(f"[red]{error}[/]")
        return 1
    found = lines(results.ours, results.relay)
    show(found, doubts(ours=results.ours, relay=results.relay), console)
    path = keep("message", found, {"quick": chosen.quick, "plan": dataclasses.asdict(plan)}, chosen.out)
    console.print(f"Kept in {path}", soft_wrap=True)
    lost = any(line.ours for line in found if line.name == "flood_lost")
    return 1 if lost else 0


def _sandboxes(chosen: argparse.Namespace, console: Console) -> int:
    plan = dataclasses.replace(
        sandboxes.QUICK if chosen.quick else sandboxes.Plan(),
        parts=chosen.part or sandboxes.PARTS,
        settings=dict(chosen.set or ()),
    )
    if chosen.rounds is not None:
        plan = dataclasses.replace(plan, rounds=chosen.rounds)
    try:
        results = asyncio.run(
            sandboxes.run(plan, chosen.out, lambda line: console.print(f"==> {line}", soft_wrap=True))
        )
    except AssertionError as error:
        console.print(f"[red]{error}[/]", soft_wrap=True)
        return 1
    found = sandbox_report.lines(results.rounds)
    sandbox_report.show(found, results.missing, console)
    about = {"quick": chosen.quick, "plan": dataclasses.asdict(plan), "missing": results.missing}
    path = keep("sandboxes", found, about, chosen.out)
    console.print(f"Kept in {path}", soft_wrap=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("what", choices=list(PARTS), help="what to measure: the message path, or sandboxes")
    parser.add_argument("--quick", action="store_true", help="a little of everything, to see that it works")
    parser.add_argument("--rounds", type=int, help="how often each is measured (3)")
    parser.add_argument(
        "--part",
        action="append",
        metavar="PART",
        help="only this part; may be given again. "
        + "; ".join(f"{name}: {', '.join(of)}" for name, of in PARTS.items()),
    )
    parser.add_argument("--set", action="append", type=_setting, metavar="NAME=VALUE", help="of the daemon, besides")
    parser.add_argument("--out", type=Path, default=KEPT, help="where the JSON goes (.clawkaka/bench)")
    return parser


def _setting(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError("must look like NAME=VALUE")
    return name, value


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was made is taken away
    sys.exit(main())
