"""The talks that `clawkakad try` has on a terminal: a list of messages one after another, or a chat until Ctrl-D."""

import asyncio
import re
import sys
import termios
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from rich.console import Console
from rich.text import Text

from clawkakad.cli.progress import Progress, stage_of
from clawkakad.errors import ClawkakaError
from clawkakad.simulator.exchange import Event, Exchange, Watcher
from clawkakad.simulator.people import Author, Person

REPLY_S = 180.0
MORE_S = 0.4  # a long reply comes in parts, one right behind the other
ENDINGS = ("/quit", "/q", "/exit")
COMMAND = re.compile(r"/\w*(\s|$)")  # a path such as /etc/hosts is none
HELP = "Whatever you write here goes to your assistant; /quit or Ctrl-D ends the chat."
PROMPT, TYPING_PROMPT = "you › ", "••• › "  # of one width: the line behind it stays where it is
STYLES = {"*": "bold", "_": "italic", "~": "strike", "`": "cyan"}
MARKUP = re.compile(r"(?<!\w)([*_~`])(?=\S)(.+?)(?<=\S)\1(?!\w)")


class NoReply(ClawkakaError):
    """No answer came in time."""


async def send_all(
    exchange: Exchange, person: Person, messages: list[str], state_dir: Path, log: Path, *, reply_s: float = REPLY_S
) -> None:
    """Each message in turn, each reply on standard output. Raises NoReply."""
    console = Console(stderr=True)
    for text in messages:
        async with exchange.watching() as watcher:
            exchange.write(person, text)
            with Progress(console, "sending your message").shown() as progress:
                waiting = _replies(watcher, person, reply_s)
                replies = await progress.during(waiting, lambda: stage_of(state_dir, person))
        if not replies:
            raise NoReply(f"no reply within {reply_s:.0f} s; see {log}")
        for reply in replies:
            sys.stdout.write(reply + "\n")
            sys.stdout.flush()


async def _replies(watcher: Watcher, person: Person, reply_s: float) -> list[str]:
    """The next message of the assistant, and what comes right behind it; nothing if none comes in time."""
    replies: list[str] = []
    with suppress(TimeoutError):
        while True:
            async with asyncio.timeout(MORE_S if replies else reply_s):
                event = await watcher.next()
            if event is None:
                break
            if _is_reply(event, person):
                replies.append(event["text"])
    return replies


def _is_reply(event: Event, person: Person) -> bool:
    return bool(event["type"] == "message" and event["wa_id"] == person.wa_id and event["author"] == Author.ASSISTANT)


async def chat(exchange: Exchange, person: Person) -> None:
    """A chat on the terminal, until /quit or Ctrl-D. Cancelled, it leaves the terminal as it was."""
    screen = Screen()
    with screen.kept():
        async with exchange.watching() as watcher, _lines(screen) as lines:
            showing = asyncio.create_task(_show(watcher, person, screen), name="replies")
            try:
                while (line := await lines.get()) is not None and line.strip() not in ENDINGS:
                    if COMMAND.match(line.strip()):
                        screen.help()
                    elif line.strip():
                        exchange.write(person, line.strip())
            finally:
                showing.cancel()
                await asyncio.gather(showing, return_exceptions=True)


async def _show(watcher: Watcher, person: Person, screen: "Screen") -> None:
    while (event := await watcher.next()) is not None:
        if event["type"] == "typing" and event["wa_id"] == person.wa_id:
            screen.typing(event["on"])
        elif _is_reply(event, person):
            screen.reply(event["text"])
        elif event["type"] == "message" and event["wa_id"] == person.wa_id:
            screen.elsewhere(event)


class Screen:
    """The terminal: replies appear above the line that is being typed."""

    def __init__(self) -> None:
        self._console = Console()
        self._typed: set[str] = set()
        self.prompt = PROMPT

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Whatever the line editor did to the terminal is undone in the end."""
        before = termios.tcgetattr(sys.stdin)
        try:
            yield
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
            sys.stdout.write("\n")

    def read(self) -> str | None:
        """One line that is typed, None at the end. Blocks: for a thread of its own."""
        try:
            line = input(self.prompt)
        except (EOFError, KeyboardInterrupt):
            return None
        self._typed.add(line.strip())
        return line

    def typing(self, on: bool) -> None:
        """Dots in front of the line while the assistant is at it."""
        self.prompt = TYPING_PROMPT if on else PROMPT
        self._again()

    def reply(self, text: str) -> None:
        """A message of the assistant."""
        self.prompt = PROMPT
        self._clear()
        self._console.print(Text.assemble(("assistant ", "bold green"), styled(text)))
        self._again()

    def help(self) -> None:
        """What can be typed: the answer to any word with a slash in front."""
        self._clear()
        self._console.print(Text(HELP, "dim"))
        self._again()

    def elsewhere(self, event: Event) -> None:
        """What the same person wrote on the page."""
        if event["text"] in self._typed:
            self._typed.discard(event["text"])
            return
        self._clear()
        self._console.print(Text(f"you (on the page) {event['text']}", "dim"))
        self._again()

    def _clear(self) -> None:
        sys.stdout.write("\r\x1b[K")

    def _again(self) -> None:
        """The line that is being typed, once more."""
        sys.stdout.write(f"\r\x1b[K{self.prompt}{_line_buffer()}")
        sys.stdout.flush()


def styled(text: str) -> Text:
    """WhatsApp's marks as a terminal's."""
    shown, at = Text(), 0
    for match in MARKUP.finditer(text):
        shown.append(text[at : match.start()])
        shown.append(match[2], STYLES[match[1]])
        at = match.end()
    shown.append(text[at:])
    return shown


@asynccontextmanager
async def _lines(screen: Screen) -> AsyncIterator["asyncio.Queue[str | None]"]:
    """Lines as they are typed. The thread that reads cannot be stopped while it waits: it ends with the process."""
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[str | None]()

    def read() -> None:
        line: str | None = ""
        while line is not None:
            line = screen.read()
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(queue.put_nowait, line)

    threading.Thread(target=read, name="terminal", daemon=True).start()
    yield queue


def _line_buffer() -> str:
    """What has been typed so far, where the line editor can tell."""
    try:
        import readline
    except ImportError:
        return ""
    return readline.get_line_buffer()
