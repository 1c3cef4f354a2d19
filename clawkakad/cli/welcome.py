"""What `clawkakad try` says before a chat: where the page is, who one is there, and how it ends."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from rich.text import Text

from clawkakad.cli.common import harmless
from clawkakad.intake.places import guess
from clawkakad.model import IdentifierKind
from clawkakad.simulator.people import Person, display

MODEL_SETTINGS = ("OPENROUTER_API_KEY", "OPENROUTER_PROVISIONING_KEY", "MODEL_BASE_URL")
SCREENS = ("DISPLAY", "WAYLAND_DISPLAY")


@dataclass(frozen=True)
class Welcome:
    """The page at `url`, whose phone one holds there, and the daemon's log."""

    url: str
    person: Person
    log: Path
    environ: Mapping[str, str]

    @property
    def link(self) -> str:
        """The page as that person."""
        return f"{self.url}/?as={self.person.wa_id}"

    @property
    def has_screen(self) -> bool:
        """Whether a browser could be opened here."""
        return sys.platform == "darwin" or self._has(*SCREENS)

    def lines(self, end: str) -> list[Text]:
        """A few lines for a terminal; `end`: what ends the chat."""
        name, number = harmless(self.person.name), display(self.person.wa_id)
        model = "a real model" if self._has(*MODEL_SETTINGS) else "the offline model"
        zone = guess([(IdentifierKind.WA_ID, self.person.wa_id)], None).time_zone
        lines = [
            Text.assemble("Chat page: ", (self.link, "bold")),
            Text(f"You are {name}, {number}, in {zone}; {model} answers.", "dim"),
            Text(f"{end} ends. The daemon's log:", "dim"),
            Text(harmless(str(self.log)), "dim"),
        ]
        if self._has("SSH_CONNECTION") and not self.has_screen:
            port = urlsplit(self.url).port
            hint = f"For a browser on your own computer, run there: ssh -L {port}:127.0.0.1:{port} <this server>"
            lines.insert(1, Text(hint))
        return lines

    def _has(self, *names: str) -> bool:
        return any(self.environ.get(name) for name in names)
