"""`pa contact`."""

import sqlite3
import subprocess
import time
import unicodedata
from contextlib import closing

import pytest

from .program import Program


def test_a_person_is_kept_and_added_to(pa: Program) -> None:
    line = pa.line(
        "contact", "add", "Asha", "--phone", "+91 98200 00000", "--birthday", "1990-11-23", "--note", "sister"
    )
    assert line == 'ok contact 1: "Asha", +91 98200 00000, birthday 1990-11-23, "sister"'
    assert pa.line("contact", "add", "asha", "--note", "sister, in Pune").endswith('"sister, in Pune"')
    assert len(pa.rows("SELECT * FROM contacts")) == 1
    assert pa.line("undo").startswith('ok undone: contact 1: "Asha"')
    assert pa.row("SELECT note FROM contacts") == {"note": "sister"}


def test_a_person_who_is_added_twice_at_once_is_one(pa: Program) -> None:
    pa.line("task", "add", "x")
    with closing(sqlite3.connect(pa.database_path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")  # both come so far, and wait for their turn
        command = pa.command("contact", "add", "Asha", "--phone", "1")
        running = [subprocess.Popen(command, env=pa.environment, stdout=subprocess.PIPE) for _ in range(2)]
        time.sleep(1)
        db.execute("ROLLBACK")
    assert [process.communicate(timeout=30)[0] for process in running] == [b'ok contact 1: "Asha", 1\n'] * 2
    assert len(pa.rows("SELECT * FROM contacts")) == 1


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("1990-11-23", "1990-11-23"),
        ("11-23", "--11-23"),
        ("23 Nov", "--11-23"),
        ("29 feb", "--02-29"),
        ("2 march 1985", "1985-03-02"),
        ("02-29", "--02-29"),
    ],
)
def test_birthdays_with_and_without_a_year(pa: Program, typed: str, kept: str) -> None:
    pa.line("contact", "add", "Asha", "--birthday", typed)
    assert pa.row("SELECT birthday FROM contacts") == {"birthday": kept}


def test_people_are_found_by_any_part(pa: Program) -> None:
    pa.line("contact", "add", "Ásha Rao", "--note", "dentist")
    pa.line("contact", "add", "Ravi", "--phone", "123")
    assert pa.lines("contact", "find", "DENTIST") == ['contact 1: "Ásha Rao", "dentist"']
    assert pa.lines("contact", "find", "ásha") == ['contact 1: "Ásha Rao", "dentist"']
    assert pa.lines("contact", "find", "nobody") == ['no contact with "nobody"']
    assert len(pa.lines("contact", "list")) == 2
    assert pa.line("contact", "delete", "2") == 'ok deleted contact 2: "Ravi", 123'


def test_a_name_is_the_same_however_its_letters_are_put_together(pa: Program) -> None:
    pa.line("contact", "add", unicodedata.normalize("NFC", "José"))
    assert pa.line("contact", "add", unicodedata.normalize("NFD", "JOSÉ"), "--phone", "1").startswith("ok contact 1")
    assert pa.line("contact", "find", "jos\u00e9") == pa.line("contact", "find", "jose\u0301")
    pa.line("task", "add", "\u0958\u0930\u094d\u095b")  # क़र्ज़ with letters of its own for क़ and ज़
    assert pa.line("find", "\u0915\u093c\u0930\u094d\u091c\u093c").startswith("task 1")


def test_wrong_contacts_teach_the_call(pa: Program) -> None:
    assert "NAME is missing" in pa.refusal("contact", "add", "--note", "x")
    assert "--birthday must be a date" in pa.refusal("contact", "add", "Asha", "--birthday", "in spring")
    assert "--birthday must be a date" in pa.refusal("contact", "add", "Asha", "--birthday", "13-45")
