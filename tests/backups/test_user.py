"""`clawkakad user export` and `user rm`: everything of one person, handed over or gone."""

import asyncio
import json
import stat
import tarfile
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from clawkakad.errors import UsageError
from clawkakad.registry import locked
from clawkakad.sandboxes.profile import volume_name
from tests.backups.test_backup import ANN, BOB, OLD, remind, say, send
from tests.backups.world import Installation
from tests.support import eventually

CANARY = "CANARY-7d1f"


async def test_an_export_has_what_was_said_and_the_files(home: Installation, tmp_path: Path) -> None:
    ann, anns = await home.person(ANN)
    bob, _ = await home.person(BOB)
    say(home, ann, "Uber 280")
    send(home, ann, "Logged.", "read")
    say(home, bob, "of somebody else")
    remind(home, ann, "dentist", OLD)
    home.spend(anns, "Uber")
    for name in ("workspace/MEMORY.md", "state/token", "home/x"):
        (home.volume(anns) / name).parent.mkdir(exist_ok=True)
        (home.volume(anns) / name).write_text("likes jazz")
    (home.volume(anns) / "workspace" / "escape").symlink_to("/etc/passwd")
    file = tmp_path / "ann.tar.gz"
    await home.ok("user", "export", f"+{ANN}", file)

    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    with tarfile.open(file) as tar:
        tar.extractall(tmp_path / "out")
        names = set(tar.getnames())
    root = tmp_path / "out" / "clawkakad-export"
    assert ["Uber 280", "Logged."] == [m["text"] for m in json.loads((root / "messages.json").read_text())]
    assert "you: Uber 280\n" in (root / "messages.txt").read_text()
    assert "dentist" in (root / "reminders.json").read_text()
    assert ANN in (root / "profile.json").read_text()
    assert "likes jazz" == (root / "files" / "workspace" / "MEMORY.md").read_text()
    assert (root / "files" / "pa" / "pa.sqlite").exists()
    assert not [name for name in names if "state" in name or "escape" in name or "home" in name]
    assert "somebody else" not in (root / "messages.txt").read_text()


async def test_an_export_says_which_of_their_files_it_lacks(home: Installation, tmp_path: Path) -> None:
    _, anns = await home.person(ANN)
    (home.volume(anns) / "state").mkdir()
    for name in ("closed", "state/closed"):
        (home.volume(anns) / name).touch(mode=0)
    result = await home.clawkakad("user", "export", ANN, tmp_path)

    assert 1 == result.exit_code
    assert ": NOT in it: closed: Permission denied\n" in result.output
    assert 1 == len(list(tmp_path.iterdir()))


async def test_however_much_machinery_an_export_lacks_it_is_whole(home: Installation, tmp_path: Path) -> None:
    _, anns = await home.person(ANN)
    for folder in ("home", "state"):
        (home.volume(anns) / folder).mkdir()
        for number in range(20):
            (home.volume(anns) / folder / f"{number:0240}").touch(mode=0)
            (home.volume(anns) / folder / f"{number}.sqlite").write_bytes(b"SQLite format 3\0junk")
    whole = await home.ok("user", "export", ANN, tmp_path / "1.tar.gz")

    assert "in it:" not in whole.output
    for number in range(12):
        (home.volume(anns) / f"{number}").touch(mode=0)
    result = await home.clawkakad("user", "export", ANN, tmp_path / "2.tar.gz")

    assert 1 == result.exit_code
    assert "; and 2 more\n" in result.output


async def test_an_export_goes_into_a_directory_and_git_leaves_it_alone(home: Installation, tmp_path: Path) -> None:
    await home.person(ANN)
    await home.ok("user", "export", ANN, tmp_path)
    (made,) = tmp_path.iterdir()

    ignored = (Path(__file__).parents[2] / ".gitignore").read_text().splitlines()
    assert any(fnmatchcase(made.name, pattern) for pattern in ignored)
    again = await home.clawkakad("user", "export", ANN, tmp_path)
    assert f"{made} is there already: name another file" == str(again.exception)


async def test_an_export_below_a_file_is_refused(home: Installation, tmp_path: Path) -> None:
    await home.person(ANN)
    (tmp_path / "file").touch()
    result = await home.clawkakad("user", "export", ANN, tmp_path / "file" / "x")

    assert f"{tmp_path}/file/x cannot be written: Not a directory" == str(result.exception)


def on_disk(directory: Path, text: str) -> list[Path]:
    """The files that hold it anywhere."""
    files = [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path for path in files if text.encode() in path.read_bytes()]


async def test_after_a_purge_a_canary_is_nowhere_on_disk(home: Installation) -> None:
    ann, anns = await home.person(ANN)
    bob, _ = await home.person(BOB)
    home.spend(anns, CANARY)
    async with home.registry() as registry:  # the daemon has the file open, and its log is long
        for number in range(200):
            say(home, ann, f"{CANARY}-{number}" * 20)
            send(home, ann, f"{CANARY}-{number}", "delivered")
        remind(home, ann, CANARY, OLD)
        await registry.users.all()
        assert on_disk(home.state, CANARY)
        result = await home.ok("user", "rm", f"+{ANN}", "--purge", "--yes")
        assert [] == on_disk(home.state, CANARY)
        assert [] == on_disk(home.state, ANN)
    assert [] == on_disk(home.state, CANARY)
    assert "is gone" in result.output
    assert [(bob,)] == home.rows("SELECT id FROM users")
    assert volume_name(anns) not in home.engine.volumes
    assert 1 == len(home.engine.volumes)


async def test_a_purge_takes_what_a_killed_backup_left_too(home: Installation) -> None:
    await home.person(ANN)
    draft, partial = (
        home.state / ".clawkakad-backup-x1",
        home.state / "backups" / ".clawkakad-20260101T030000Z.tar.partial",
    )
    for path in (draft / "registry.sqlite", partial):
        path.parent.mkdir()
        path.write_bytes((home.state / "registry.sqlite").read_bytes())
    assert on_disk(home.state, ANN)
    await home.ok("user", "rm", ANN, "--purge", "--yes")

    assert [] == on_disk(home.state, ANN)
    assert not draft.exists()
    assert not partial.exists()


async def test_a_purge_says_which_backups_still_hold_them(home: Installation) -> None:
    await home.person(ANN)
    await home.ok("backup")
    result = await home.ok("user", "rm", ANN, "--purge", "--yes")

    assert "1 backup in" in result.output


async def test_without_purge_the_messages_stay(home: Installation) -> None:
    ann, _ = await home.person(ANN)
    say(home, ann, "hello", "received")
    send(home, ann, "hi", "queued")
    remind(home, ann, "x", OLD)
    await home.ok("user", "rm", ANN, "--yes")

    assert [("hello", "ignored")] == home.rows("SELECT text, state FROM inbox")
    assert [("hi", "dropped")] == home.rows("SELECT text, state FROM outbox")
    assert [] == home.rows("SELECT * FROM reminders")
    assert [] == home.rows("SELECT * FROM sandboxes")
    assert {} == home.engine.volumes


@pytest.mark.parametrize("call", range(12))
async def test_a_removal_that_dies_anywhere_is_repeated(home: Installation, call: int) -> None:
    await home.person(ANN)
    home.engine.break_after = call
    first = await home.clawkakad("user", "rm", ANN, "--purge", "--yes")
    home.engine.break_after = None
    if first.exit_code:
        await home.ok("user", "rm", ANN, "--purge", "--yes")

    assert [] == home.rows("SELECT * FROM users")
    assert {} == home.engine.volumes
    assert [] == on_disk(home.state, ANN)


async def test_somebody_who_is_gone_is_wiped_once_more(home: Installation) -> None:
    ann, _ = await home.person(ANN)
    await home.ok("user", "rm", ANN, "--yes")
    home.write("PRAGMA secure_delete = OFF")
    home.write("DELETE FROM identifiers")
    home.write("DELETE FROM users WHERE id = ?", ann)  # and then it was killed
    result = await home.clawkakad("user", "rm", ANN, "--purge", "--yes")

    assert "nobody here is called" in str(result.exception)
    assert [] == on_disk(home.state, ANN)


async def test_beside_a_running_daemon_the_daemon_removes_the_sandbox(home: Installation) -> None:
    _, anns = await home.person(ANN)
    with locked(home.state):
        command = asyncio.create_task(home.ok("user", "rm", ANN, "--purge", "--yes"))
        await eventually(lambda: home.rows("SELECT 1 FROM sandboxes WHERE remove_wanted = 1"))
        home.write("DELETE FROM sandboxes WHERE id = ?", anns)  # as the daemon does in the end
        await command

    assert [] == home.rows("SELECT * FROM users")


async def test_without_a_yes_nothing_is_removed(home: Installation) -> None:
    await home.person(ANN)
    result = await home.clawkakad("user", "rm", ANN, "--purge", typed="n\n")

    assert isinstance(result.exception, UsageError)
    assert 1 == len(home.engine.volumes)
