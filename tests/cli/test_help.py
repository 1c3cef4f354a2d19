"""Help that loses nothing: on a terminal of 80 columns, and on a phone."""

from collections.abc import Iterator

import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from clawkakad.cli.commands import commands

PHONE, TERMINAL = 46, 80  # columns


def pages(command: object, *words: str) -> Iterator[tuple[str, ...]]:
    """The words of every command and group."""
    yield words
    if isinstance(command, TyperGroup):
        for name, one in command.commands.items():
            yield from pages(one, *words, name)


PAGES = list(pages(get_command(commands(TERMINAL))))


def shown(columns: int, *words: str) -> str:
    done = CliRunner().invoke(commands(columns), [*words, "--help"], env={"COLUMNS": str(columns)})
    assert done.exit_code == 0
    return done.output


def meant(*words: str) -> list[str]:
    """What is to be read on a page: its text, the names of options, their texts and those of arguments, commands."""
    command = get_command(commands(TERMINAL))
    for word in words:
        assert isinstance(command, TyperGroup)
        command = command.commands[word]
    inside = command.commands if isinstance(command, TyperGroup) else {}
    names = [name for one in command.params for name in (*one.opts, *one.secondary_opts) if name.startswith("-")]
    texts = [getattr(one, "help", None) or "" for one in command.params]
    return [command.help or "", *names, *texts, *inside]


@pytest.mark.parametrize("words", PAGES, ids=" ".join)
def test_every_word_of_help_is_read_on_a_terminal(words: tuple[str, ...]) -> None:
    read = shown(TERMINAL, *words)

    assert [text for text in meant(*words) if not set(text.split()) <= set(read.split())] == []


@pytest.mark.parametrize("words", PAGES, ids=" ".join)
def test_all_of_help_is_read_on_a_phone(words: tuple[str, ...]) -> None:
    read = shown(PHONE, *words)

    together = "".join(read.split())  # it is wrapped between words, and behind hyphens
    assert [text for text in meant(*words) if "".join(text.split()) not in together] == []
    assert [line for line in read.splitlines() if len(line) > PHONE and "|" not in line] == []


def test_a_list_of_commands_says_what_each_does_on_a_phone() -> None:
    read = " ".join(shown(PHONE).split())

    assert "nuke Remove all containers, volumes and model keys of this installation, its sockets and its state" in read
    assert "..." not in read.replace("[ARGS]...", "")
