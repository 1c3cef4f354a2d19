"""How lists are shown: a table where there is room, else some short lines for each message, person or sandbox.

Numbers are masked; texts are shown only where they were asked for. What a person or Meta wrote commands no terminal.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from clawkakad.cli.common import age, harmless, plain
from clawkakad.delivery.planning import WINDOW_CLOSED
from clawkakad.log import mask, mask_name, redact
from clawkakad.model import Hold, OutboxState
from clawkakad.registry.overview import Entry
from clawkakad.registry.pauses import Pause, Scope
from clawkakad.whatsapp.errors import rule_of

LATELY = timedelta(days=1)  # failures are listed for so long
LONGEST_NAME = 20
ROOM = 110  # columns from which on a table reads well
TRY_NOW = "or now: clawkakad outbox retry ID, of one that is queued"  # where sending is paused
SETTLING = "waits for WhatsApp's status, a minute or a few, then is sent again or held"
_OUT = (OutboxState.SENT, OutboxState.DELIVERED, OutboxState.READ)
_COLOURS = {"held": "yellow", "ambiguous": "yellow", "failed": "red", "parked": "red"}
_CODE = re.compile(r"error (\d{1,9})\b")


def show(console: Console, entries: Sequence[Entry], now: datetime, *, text: bool) -> None:
    """Print them, oldest first."""
    if console.width >= ROOM:
        console.print(_table(entries, now, text=text))
        return
    for entry in entries:
        _print_block(console, entry, now, text=text)


def show_rows(console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]], *, folds: str) -> None:
    """Print rows that begin with an id. `folds`: the column that is given what room is left; "-" is nothing."""
    if console.width < ROOM:
        for id_, *cells in rows:
            console.print(Text(id_, "bold"))
            known = [f"{heading}: {cell}" for heading, cell in zip(headings[1:], cells, strict=True) if cell != "-"]
            for line in packed(known, console.width - 4):
                console.print(Padding(plain(line), (0, 0, 0, 4), expand=False))
        return
    table = Table(*headings, box=None, pad_edge=False)
    for column in table.columns:
        column.no_wrap = column.header != folds
    for row in rows:
        table.add_row(*map(plain, row))
    console.print(table)


def packed(parts: Sequence[str], width: int) -> Iterator[str]:
    """Lines of parts, as many in each as its width in cells takes, so that none is torn apart without need."""
    line = ""
    for part in parts:
        longer = f"{line} · {part}" if line else part
        if line and cell_len(longer) > width:
            yield line
            longer = part
        line = longer
    if line:
        yield line


def code_of(reason: str) -> int | None:
    """Meta's error code, where the reason is one of Meta's."""
    found = _CODE.match(reason)
    return int(found[1]) if found else None


def pause_lines(pauses: Sequence[Pause], now: datetime) -> Iterator[Text]:
    """What is paused, why, and what to do."""
    for pause in pauses:
        what = "Sending is paused" if pause.scope is Scope.ALL else "Sending of templates is paused"
        yield Text.assemble((what, "bold red"), f", begun {age(pause.since, now)}: ", plain(redact(pause.reason)))
        if advice := rule_of(pause.code).advice:
            yield Text(f"→ {advice}")
        if pause.scope is Scope.ALL:
            left_s = int((pause.until - now).total_seconds())
            when = f"One message is tried in {max(1, left_s // 60)} min" if left_s > 0 else "The next message is tried"
            yield Text(f"{when}, alone, and one whenever the daemon starts; nothing is lost.")
            if left_s > 0:
                yield Text(f"→ {TRY_NOW}")
            if pause.by_status:
                yield Text(
                    "That one is taken is not enough: all others follow when a status says that it has gone out."
                )


def _table(entries: Sequence[Entry], now: datetime, *, text: bool) -> Table:
    table = Table("id", "who", "what", "state", "at", "age", "tries", "reason", box=None, pad_edge=False)
    for column in table.columns[:-1]:
        column.no_wrap = True
    table.columns[-1].overflow = "fold"
    for entry in entries:
        table.add_row(
            str(entry.id),
            plain(who(entry)),
            entry.what,
            _state(entry),
            _at(entry),
            _age(entry, now),
            tries(entry),
            Text("\n").join(plain(line) for line in _more(entry, text=text)),
        )
    return table


def _print_block(console: Console, entry: Entry, now: datetime, *, text: bool) -> None:
    parts = [plain(who(entry)), Text(entry.what), _state(entry), Text(_age(entry, now))]
    console.print(Text.assemble((f"{entry.id}", "bold"), "  ", Text(" · ").join(parts)))
    sent = tries(entry)
    about = _at(entry) if sent == "0" else f"{_at(entry)} · tries: {sent}"
    for line in [about, *_more(entry, text=text)]:
        console.print(Padding(plain(line), (0, 0, 0, 4), expand=False))


def who(entry: Entry) -> str:
    """Name and masked number, as far as they are known."""
    number = mask(entry.address) if entry.address else None
    name = mask_name(entry.name or "")
    name = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
    return " ".join(filter(None, (name, number))) or entry.user_id


def tries(entry: Entry) -> str:
    """How often it was tried; a send of unknown outcome may have arrived."""
    return f"{entry.tries} ({entry.unknowns} unknown)" if entry.unknowns else str(entry.tries)


def _at(entry: Entry) -> str:
    """When it came, or was made, by the clock of this machine, as its log has it."""
    return f"{entry.at.astimezone():%d %b %H:%M}"


def _age(entry: Entry, now: datetime) -> str:
    return age(entry.at, now).removesuffix(" ago")


def _state(entry: Entry) -> Text:
    return Text(entry.state, _COLOURS.get(entry.state, ""))


def _more(entry: Entry, *, text: bool) -> Iterator[str]:
    code = code_of(entry.reason)
    if entry.hold is Hold.WINDOW and code is not None:
        yield WINDOW_CLOSED
    if entry.reason:
        yield redact(entry.reason)
    if entry.state == OutboxState.FAILED and (advice := rule_of(code).advice):
        yield f"→ {advice}"
    if entry.state == OutboxState.AMBIGUOUS:
        yield SETTLING
    if entry.state in _OUT and entry.unknowns and entry.tries > 1:
        yield f"it may have arrived {entry.tries} times"
    if entry.behind is not None:
        yield f"waits for message {entry.behind}, of which nobody knows yet whether it was sent"
    if text and entry.text:
        yield f"“{harmless(entry.text)}”"
