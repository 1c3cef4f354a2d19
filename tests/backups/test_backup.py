"""`clawkakad backup` and `restore`: a drill from one host to another, and everything that may go wrong on the way."""

import asyncio
import contextlib
import os
import shutil
import stat
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clawkakad.backups import sink
from clawkakad.cli.commands import app
from clawkakad.cli.trial import opened_trial
from clawkakad.cli.where import SETTLED_BY, require_meant
from clawkakad.config import load_place
from clawkakad.errors import UsageError
from clawkakad.model import SandboxId
from clawkakad.registry import lateness, locked
from clawkakad.sandboxes.profile import volume_name
from tests.backups.world import Installation, database, installation
from tests.fakes.engine import FakeContainer

ANN, BOB = "4915123456789", "919876543210"
OLD = "2026-01-01T00:00:00.000Z"


def say(host: Installation, user: str, text: str, state: str = "answered") -> None:
    host.write(
        "INSERT INTO inbox (run_key, wamid, user_id, kind, text, raw, forwarded, sent_at, received_at, state, turn,"
        f" changed_at) VALUES (?1, ?1, ?2, 'text', ?1, '{{}}', 0, '{OLD}', '{OLD}', ?3, 1, '{OLD}')",
        *(text, user, state),
    )


def send(host: Installation, user: str, text: str, state: str, hold: str | None = None) -> None:
    host.write(
        "INSERT INTO outbox (key, source, origin, user_id, text, state, hold, not_before, created_at, changed_at)"
        f" VALUES (?1, ?1, 'reply', ?2, ?1, ?3, ?4, '{OLD}', '{OLD}', '{OLD}')",
        *(text, user, state, hold),
    )


def remind(host: Installation, user: str, text: str, due: str) -> None:
    host.write(
        "INSERT INTO reminders (key, user_id, due_at, wall, zone, text, state, created_at, changed_at)"
        f" VALUES (?1, ?2, ?3, 'then', 'UTC', ?1, 'pending', '{OLD}', '{OLD}')",
        *(text, user, due),
    )


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Somebody writes pairs of rows, in one transaction each, as fast as they can."""
    over = threading.Event()

    def write() -> None:
        with database(path) as connection:
            while not over.is_set():
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("INSERT INTO expenses VALUES ('one')")
                connection.execute("INSERT INTO expenses VALUES ('other')")
                connection.execute("COMMIT")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


async def test_a_drill_brings_everybody_back_on_an_empty_host(home: Installation, tmp_path: Path) -> None:
    ann, anns = await home.person(ANN)
    bob, bobs = await home.person(BOB)
    home.spend(anns, "Uber")
    home.spend(bobs, "Tea")
    (home.volume(anns) / "workspace").mkdir()
    (home.volume(anns) / "workspace" / "MEMORY.md").write_text("likes jazz")
    (home.volume(anns) / "link").symlink_to("workspace/MEMORY.md")
    say(home, ann, "how are you")
    send(home, ann, "fine", "read")
    (home.state / "secret").write_text("s3cret\n")
    (home.state / "keys").mkdir()
    (home.state / "keys" / anns).write_text("sk-1")
    file = tmp_path / "all.tar"
    with locked(home.state), writing(home.volume(bobs) / "pa" / "pa.sqlite"):  # the daemon runs, and so does an agent
        await home.ok("backup", file)
    async with installation("ba9876543210") as away:
        done = await away.ok("restore", file, "--yes")

        assert f"restored 2 people, and the data of 2 sandboxes, into {away.state}\n" in done.output
        assert ["Uber"] == away.expenses(anns)
        pairs = away.expenses(bobs)
        assert "Tea" == pairs[0]
        assert 1 == len(pairs) % 2, "half a transaction"
        assert "likes jazz" == (away.volume(anns) / "link").read_text()
        assert [(ann,), (bob,)] == away.rows("SELECT id FROM users ORDER BY created_at")
        assert [("how are you",)] == away.rows("SELECT text FROM inbox")
        assert [("fine", "read")] == away.rows("SELECT text, state FROM outbox")
        assert [("absent",)] * 2 == away.rows("SELECT state FROM sandboxes")
        assert "s3cret\n" == (away.state / "secret").read_text()
        assert "sk-1" == (away.state / "keys" / anns).read_text()
        assert {"clawkaka.instance": "ba9876543210", "clawkaka.sandbox": anns} == away.engine.volumes[volume_name(anns)]
        assert [] == list(away.engine.containers)
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert [file] == list(tmp_path.iterdir())
    assert [] == list(home.engine.containers)
    assert [] == list(home.state.glob(".clawkakad-*"))


async def test_nothing_is_sent_or_asked_again_after_a_restore(home: Installation, tmp_path: Path) -> None:
    ann, _ = await home.person(ANN)
    for state in ("queued", "sending", "ambiguous", "sent"):
        send(home, ann, state, state)
    send(home, ann, "window", "held", "window")
    say(home, ann, "waits", "received")
    say(home, ann, "runs", "running")
    remind(home, ann, "past", OLD)
    remind(home, ann, "future", "2999-01-01T00:00:00.000Z")
    file = tmp_path / "b.tar"
    await home.ok("backup", file)
    done = await home.ok("restore", file, "--yes")

    assert "what was on its way is held: clawkakad outbox list\n" in done.output
    assert "what waited for an answer is parked: clawkakad inbox list\n" in done.output
    assert [("held", "unknown")] == home.rows("SELECT DISTINCT state, hold FROM outbox WHERE text <> 'sent'")
    assert [("sent",)] == home.rows("SELECT state FROM outbox WHERE text = 'sent'")
    assert [("parked", None)] == home.rows("SELECT DISTINCT state, turn FROM inbox")
    assert [("past", "fired"), ("future", "pending")] == home.rows("SELECT text, state FROM reminders ORDER BY id")
    late = lateness.message("past", "then", 2 * lateness.LATE)
    assert [(late,)] == home.rows("SELECT text FROM outbox WHERE origin = 'reminder'")
    listed = (await home.ok("outbox", "list")).output
    assert 5 == listed.count("restored from the backup of")
    assert 2 == (await home.ok("inbox", "list")).output.count("parked")


async def test_what_was_there_is_moved_aside_and_not_deleted(home: Installation, tmp_path: Path) -> None:
    ann, anns = await home.person(ANN)
    home.spend(anns, "before")
    file = tmp_path / "b.tar"
    await home.ok("backup", file)
    home.spend(anns, "after")
    (home.volume(anns) / "new").write_text("x")
    say(home, ann, "later")
    await home.ok("restore", file, "--yes")

    assert ["before"] == home.expenses(anns)
    assert [] == home.rows("SELECT * FROM inbox")
    (aside,) = home.state.glob("before-restore-*")
    with database(aside / "registry.sqlite") as connection:
        assert [("later",)] == connection.execute("SELECT text FROM inbox").fetchall()
    (kept,) = home.volume(anns).glob(".before-restore-*")
    assert {"new", "pa"} == {path.name for path in kept.iterdir()}
    with database(kept / "pa" / "pa.sqlite") as connection:
        assert [("before",), ("after",)] == connection.execute("SELECT what FROM expenses").fetchall()

    second = tmp_path / "c.tar"
    await home.ok("backup", second)  # and it is not backed up again
    assert second.stat().st_size < 2 * file.stat().st_size


async def test_what_was_moved_aside_is_told_and_goes_when_that_is_said(home: Installation, tmp_path: Path) -> None:
    _, anns = await home.person(ANN)
    _, bobs = await home.person(BOB)
    await home.ok("backup", tmp_path / "b.tar")
    (home.volume(anns) / "big").write_bytes(os.urandom(3 * 1024 * 1024))
    (home.volume(bobs) / "closed").mkdir()
    (home.volume(bobs) / "closed" / "file").touch()
    (home.volume(bobs) / "closed").chmod(0)
    done = await home.ok("restore", tmp_path / "b.tar", "--yes")
    assert "what was in their sandboxes takes 3." in done.output
    assert " MiB of their disks until: clawkakad restore --clean\n" in done.output
    (home.volume(anns) / ".restoring").mkdir(mode=0)  # of a restore that was killed, closed by the agent
    volumes = {anns: home.volume(anns), bobs: home.volume(bobs)}

    with locked(home.state):  # the daemon runs
        await home.clawkakad("restore", "--clean", typed="n\n")
        assert list(volumes[anns].glob(".before-restore-*"))
        cleaned = await home.ok("restore", "--clean", "--user", ANN, "--yes")
        assert "removed 3." in cleaned.output
        assert {"pa"} == {path.name for path in volumes[anns].iterdir()}
        assert list(volumes[bobs].glob(".before-restore-*"))
        assert list(home.state.glob("before-restore-*"))
        await home.ok("restore", "--clean", "--yes")
    assert {"pa"} == {path.name for path in volumes[bobs].iterdir()}
    assert [] == list(home.state.glob("before-restore-*"))
    assert [] == home.expenses(anns)


async def test_what_cannot_be_removed_in_one_sandbox_is_removed_in_the_others(
    home: Installation, tmp_path: Path
) -> None:
    _, anns = await home.person(ANN)
    _, bobs = await home.person(BOB)
    for sandbox_id in (anns, bobs):
        (home.volume(sandbox_id) / ".before-restore-x").mkdir()
    ending(home, anns, "clean", 1, "no")
    result = await home.clawkakad("restore", "--clean", "--yes")

    assert 1 == result.exit_code
    assert f"49…89 ({anns}): the data cannot be copied: no\n" in result.output
    assert {"pa"} == {path.name for path in home.volume(bobs).iterdir()}


@pytest.mark.parametrize("words", [[], ["b.tar", "--clean"]])
async def test_a_restore_wants_a_file_or_cleans(home: Installation, words: list[str]) -> None:
    result = await home.clawkakad("restore", *words)

    assert "name a file that `clawkakad backup` made, or say --clean" == str(result.exception)


@pytest.mark.parametrize("content", [b"", b"no database " * 1000], ids=["empty", "garbage"])
async def test_a_registry_that_is_none_is_told_with_the_way_out_which_works(
    home: Installation, tmp_path: Path, content: bytes
) -> None:
    await home.person(ANN)
    file, registry = tmp_path / "b.tar", home.state / "registry.sqlite"
    await home.ok("backup", file)
    registry.write_bytes(content)

    assert "clawkakad restore FILE" in str((await home.clawkakad("users")).exception)
    registry.with_name(f"{registry.name}-wal").write_bytes(b"a log " * 1000)
    await home.ok("restore", file, "--yes")

    assert 1 == len(home.rows("SELECT * FROM users"))
    (aside,) = home.state.glob("before-restore-*")
    assert (aside / registry.name).read_bytes().startswith(content)


@pytest.mark.parametrize("where", [0.2, 0.5, 0.9])
async def test_a_damaged_backup_changes_nothing(home: Installation, tmp_path: Path, where: float) -> None:
    _, anns = await home.person(ANN)
    (home.volume(anns) / "big").write_bytes(os.urandom(100_000))
    file = tmp_path / "b.tar"
    await home.ok("backup", file)
    content = bytearray(file.read_bytes())
    content[int(len(content) * where)] ^= 1
    file.write_bytes(content)
    home.spend(anns, "after")
    result = await home.clawkakad("restore", file, "--yes")

    assert isinstance(result.exception, UsageError)
    assert ["after"] == home.expenses(anns)
    assert not list(home.state.glob("before-restore-*"))


async def test_a_cut_off_backup_is_no_backup(home: Installation, tmp_path: Path) -> None:
    await home.person(ANN)
    file = tmp_path / "b.tar"
    await home.ok("backup", file)
    os.truncate(file, file.stat().st_size // 2)

    assert isinstance((await home.clawkakad("restore", file, "--yes")).exception, UsageError)


async def test_a_file_that_cannot_be_read_is_said_and_nothing_is_made(home: Installation, tmp_path: Path) -> None:
    shutil.rmtree(home.state)
    for file, why in ((tmp_path / "none.tar", "No such file or directory"), (tmp_path, "Is a directory")):
        result = await home.clawkakad("restore", file, "--yes")
        assert isinstance(result.exception, UsageError)
        assert f"{file} cannot be read: {why}; name a file that `clawkakad backup` made" == str(result.exception)

    assert not home.state.exists()


async def test_a_trials_backup_goes_elsewhere_only_where_that_is_said(
    home: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".clawkaka" / "backups" / "b.tar"
    file.parent.mkdir(parents=True)
    await home.person(ANN)
    await home.ok("backup", file)
    shutil.rmtree(home.state)
    monkeypatch.setattr("clawkakad.cli.backup.place_here", lambda: load_place({"CLAWKAKA_STATE_DIR": str(home.state)}))
    for name in SETTLED_BY:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    result = await asyncio.to_thread(CliRunner().invoke, app, ["restore", ".clawkaka/backups/b.tar", "--yes"])

    assert isinstance(result.exception, UsageError)
    assert f"set CLAWKAKA_STATE_DIR={home.state} to mean that" in str(result.exception)
    assert f"or CLAWKAKA_STATE_DIR={tmp_path}/.clawkaka for the trial, once `clawkakad try`" in str(result.exception)
    assert not home.state.exists()
    await home.ok("restore", file, "--yes")  # which says it

    async with installation("ba9876543210") as away:  # the other way that it names
        for _ in range(2):
            with opened_trial(tmp_path / ".clawkaka", fresh=False):
                pass
            environ = {"CLAWKAKA_STATE_DIR": f"{tmp_path}/.clawkaka", "DOCKER_HOST": away.engine.address}
            result = await asyncio.to_thread(CliRunner().invoke, app, ["restore", str(file), "--yes"], env=environ)
            assert 0 == result.exit_code, result.output


def test_a_trials_backup_is_known_by_the_trials_mark(tmp_path: Path) -> None:
    file = tmp_path / "my trial" / "backups" / "b.tar"
    file.parent.mkdir(parents=True)
    (tmp_path / "my trial" / "trial.json").touch()
    require_meant(file, tmp_path / "my trial", {})
    require_meant(tmp_path / "b.tar", tmp_path / "state", {})
    with pytest.raises(UsageError, match=r"or CLAWKAKA_STATE_DIR='[^']*/my trial' for the trial$"):
        require_meant(file, tmp_path / "state", {})


async def test_a_restore_beside_a_running_daemon_is_refused(home: Installation, tmp_path: Path) -> None:
    await home.person(ANN)
    file = tmp_path / "b.tar"
    await home.ok("backup", file)
    with locked(home.state):
        result = await home.clawkakad("restore", file, "--yes")

    assert "another clawkakad runs on it" in str(result.exception)


@pytest.mark.parametrize("call", range(2, 30, 3))
async def test_a_restore_that_dies_in_the_middle_is_repeated(home: Installation, tmp_path: Path, call: int) -> None:
    people = [await home.person(number) for number in (ANN, BOB)]
    for _, sandbox_id in people:
        home.spend(sandbox_id, "before")
    file = tmp_path / "b.tar"
    await home.ok("backup", file)
    for _, sandbox_id in people:
        home.spend(sandbox_id, "after")
    home.engine.break_after = call
    await home.clawkakad("restore", file, "--yes")
    home.engine.break_after = None
    await home.ok("restore", file, "--yes")

    for _, sandbox_id in people:
        assert ["before"] == home.expenses(sandbox_id)
        asides = [path / "pa" / "pa.sqlite" for path in home.volume(sandbox_id).glob(".before-restore-*")]
        assert any(_has(path, "after") for path in asides), "what was there is lost"
    assert [] == list(home.engine.containers)


def _has(path: Path, what: str) -> bool:
    with database(path) as connection:
        return (what,) in connection.execute("SELECT what FROM expenses").fetchall()


async def test_one_person_comes_back_and_nobody_else_is_touched(home: Installation, tmp_path: Path) -> None:
    ann, anns = await home.person(ANN)
    bob, bobs = await home.person(BOB)
    home.spend(anns, "before")
    home.spend(bobs, "before")
    say(home, ann, "hello")
    file = tmp_path / "b.tar"
    await home.ok("backup", file)
    say(home, ann, "later")
    home.spend(anns, "after")
    home.spend(bobs, "after")
    send(home, bob, "held", "held")
    home.write("UPDATE users SET name = 'Ann' WHERE id = ?", ann)
    await home.ok("backup", tmp_path / "named.tar")
    named = await home.ok("restore", tmp_path / "named.tar", "--user", "Ann", "--yes")
    assert named.output.startswith("restored Ann, and the data of 1 sandbox")
    assert "what was on its way" not in named.output
    assert "what waited" not in named.output
    await home.ok("restore", file, "--user", f"+{ANN}", "--yes")

    assert ["before"] == home.expenses(anns)
    assert ["before", "after"] == home.expenses(bobs)
    assert [("hello",), ("later",)] == home.rows("SELECT text FROM inbox ORDER BY id")
    async with installation("ba9876543210") as away:
        await away.person(BOB)
        await away.ok("restore", file, "--user", ann, "--yes")
        assert ["before"] == away.expenses(anns)
        assert [("hello",)] == away.rows("SELECT text FROM inbox")
        taken = await away.clawkakad("restore", file, "--user", bob, "--yes")
        assert "is that of" in str(taken.exception)


async def test_a_sandbox_of_another_installation_is_left_alone(home: Installation, tmp_path: Path) -> None:
    _, anns = await home.person(ANN)
    file = tmp_path / "b.tar"
    await home.ok("backup", file)
    home.engine.volumes[volume_name(anns)]["clawkaka.instance"] = "somebody"
    home.spend(anns, "theirs")
    result = await home.clawkakad("restore", file, "--yes")

    assert "another installation" in str(result.exception)
    assert ["theirs"] == home.expenses(anns)


async def test_a_sandbox_that_cannot_be_copied_is_named_and_the_others_are_there(home: Installation) -> None:
    _, anns = await home.person(ANN)
    _, bobs = await home.person(BOB)
    home.engine.volumes[volume_name(anns)]["clawkaka.instance"] = "somebody"
    result = await home.clawkakad("backup", "--keep", "1")

    assert 1 == result.exit_code
    assert anns in result.output
    (file,) = (home.state / "backups").iterdir()
    with tarfile.open(file) as tar:
        assert ["registry.sqlite", f"sandboxes/{bobs}.tar.gz", "manifest.json"] == tar.getnames()


async def test_a_file_that_is_only_to_be_read_shuts_out_none_after_it(home: Installation, tmp_path: Path) -> None:
    _, anns = await home.person(ANN)
    for name, mode in (("a", 0o444), ("b", 0o644)):
        (home.volume(anns) / name).write_text(name)
        (home.volume(anns) / name).chmod(mode)
    await home.ok("backup", tmp_path / "b.tar")
    async with installation("ba9876543210") as away:
        await away.ok("restore", tmp_path / "b.tar", "--yes")

        files = [away.volume(anns) / name for name in "ab"]
        assert [("a", 0o444), ("b", 0o644)] == [(f.read_text(), stat.S_IMODE(f.stat().st_mode)) for f in files]


async def test_a_backup_with_a_damaged_database_does_not_take_the_place_of_a_sound_one(
    home: Installation, tmp_path: Path
) -> None:
    _, anns = await home.person(ANN)
    home.spend(anns, "Uber")
    await home.ok("backup", tmp_path, "--keep", "1")
    (sound,) = tmp_path.iterdir()
    sound = sound.rename(tmp_path / "clawkakad-20260101T030000Z.tar")
    with (home.volume(anns) / "pa" / "pa.sqlite").open("r+b") as file:
        file.write(b"SQLite format 3\0" + b"junk" * 1000)
    result = await home.clawkakad("backup", tmp_path, "--keep", "1")

    assert 1 == result.exit_code
    assert f"49…89 ({anns}): locked or damaged, and in it as it lies: pa/pa.sqlite\n" in result.output
    assert sound.exists()
    exported = await home.clawkakad("user", "export", ANN, tmp_path / "ann.tar.gz")
    assert 1 == exported.exit_code
    assert "in it as it lies: pa/pa.sqlite\n" in exported.output


async def test_a_backup_without_a_file_says_which_and_why_and_no_older_one_goes(
    home: Installation, tmp_path: Path
) -> None:
    _, anns = await home.person(ANN)
    (home.volume(anns) / "closed").touch(mode=0)
    older = tmp_path / "clawkakad-20260101T030000Z.tar"
    older.touch()
    result = await home.clawkakad("backup", tmp_path, "--keep", "1")

    assert 1 == result.exit_code
    assert f"49…89 ({anns}): NOT in it: closed: Permission denied\n" in result.output
    assert older.exists()


async def test_a_database_that_is_none_is_kept_as_it_is(home: Installation, tmp_path: Path) -> None:
    _, anns = await home.person(ANN)
    junk = b"SQLite format 3\0" + b"junk" * 2000
    (home.volume(anns) / "junk.db").write_bytes(junk)
    file = tmp_path / "b.tar"
    await home.clawkakad("backup", file)
    (home.volume(anns) / "junk.db").unlink()
    await home.ok("restore", file, "--yes")

    assert junk == (home.volume(anns) / "junk.db").read_bytes()


@pytest.mark.timeout(120)
async def test_what_a_hostile_agent_blows_up_or_locks_stops_nobody(home: Installation, tmp_path: Path) -> None:
    _, anns = await home.person(ANN)
    with (home.volume(anns) / "holes").open("wb") as file:
        file.truncate(3 * 1024**3)
    locked_db = home.volume(anns) / "locked.db"
    with database(locked_db) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("BEGIN EXCLUSIVE")
        result = await home.clawkakad("backup", tmp_path / "b.tar")
    assert 1 == result.exit_code
    assert f"49…89 ({anns}): NOT in it: holes: too big\n" in result.output
    assert f"49…89 ({anns}): locked or damaged, and in it as it lies: locked.db\n" in result.output
    locked_db.unlink()
    await home.ok("restore", tmp_path / "b.tar", "--yes")

    assert locked_db.exists()
    assert not (home.volume(anns) / "holes").exists()


@pytest.mark.timeout(120)
async def test_no_number_or_length_of_names_stops_anybodys_backup_or_restore(
    home: Installation, tmp_path: Path
) -> None:
    _, anns = await home.person(ANN)
    _, bobs = await home.person(BOB)
    home.spend(bobs, "Tea")
    junk, volume = b"SQLite format 3\0junk", home.volume(anns)
    for number in range(700):
        (volume / f"{number:0200}").write_bytes(junk)
    (volume / "twice").write_bytes(junk)
    (volume / "twice-wal").write_bytes(junk)
    (volume / "twice-wal").chmod(0o444)
    deep = 4094 - len(str(volume))  # as a path the kernel takes it here, but not in a directory below
    (volume / "/".join(["x" * 250] * (deep // 251))).mkdir(parents=True)
    (volume / "/".join(["x" * 250] * (deep // 251)) / ("y" * (deep % 251))).touch()
    (volume / ".restoring").symlink_to("twice")
    result = await home.clawkakad("backup", tmp_path / "b.tar")
    await home.ok("restore", tmp_path / "b.tar", "--yes")

    assert "File name too long\n" in result.output
    assert "; and 692 more\n" in result.output
    assert len(result.output) < 5000
    assert ["Tea"] == home.expenses(bobs)
    assert junk == (volume / "twice-wal").read_bytes()


def ending(home: Installation, sandbox_id: SandboxId, mode: str, exit_code: int, *log: str) -> None:
    """The copier of one sandbox ends like this when it is to do that."""

    async def start(container: FakeContainer) -> None:
        mount = container.body["HostConfig"]["Mounts"][0]["Source"]
        if (volume_name(sandbox_id), mode) != (mount, container.body["Cmd"][0]):
            return await home.start(container)
        container.status, container.exit_code, container.log = "exited", exit_code, list(log)

    home.engine.on_start = start


@pytest.mark.parametrize("log", [["lf of it"], []], ids=["cut", "none"])
async def test_a_copier_whose_report_is_lost_stops_nobody_elses_backup(home: Installation, log: list[str]) -> None:
    _, anns = await home.person(ANN)
    await home.person(BOB)
    ending(home, anns, "out", 0, *log)
    result = await home.clawkakad("backup")

    assert 1 == result.exit_code
    assert f"49…89 ({anns}) is NOT in it: the data cannot be copied: the report on it cannot be read\n" in result.output
    assert "1 sandbox\n" in result.output


async def test_a_sandbox_that_cannot_be_unpacked_is_named_and_nothing_is_left_in_others(
    home: Installation, tmp_path: Path
) -> None:
    people = [await home.person(number) for number in (ANN, BOB)]
    (_, bobs), (_, anns) = sorted(people, key=lambda one: one[1])  # in which order they are unpacked
    home.write("UPDATE users SET name = 'Ann' WHERE id = (SELECT user_id FROM sandboxes WHERE id = ?)", anns)
    await home.ok("backup", tmp_path / "b.tar")
    home.spend(anns, "after")
    ending(home, anns, "stage", 1, "the database x is damaged")
    result = await home.clawkakad("restore", tmp_path / "b.tar", "--yes")

    said = f"Ann ({anns}): the data cannot be copied: the database x is damaged; no data was put back"
    assert said == str(result.exception)
    assert ["after"] == home.expenses(anns)
    assert {"pa"} == {path.name for path in home.volume(bobs).iterdir()}


async def test_older_backups_go_and_other_files_stay(home: Installation, tmp_path: Path) -> None:
    await home.person(ANN)
    old = [f"clawkakad-2026010{day}T030000Z.tar" for day in range(1, 5)]
    for name in [*old, "mine.tar", "clawkakad-20260101T030000Z.tar.bak"]:
        (tmp_path / name).touch()
    await home.ok("backup", tmp_path, "--keep", "2")
    names = sorted(path.name for path in tmp_path.iterdir())

    assert 4 == len(names)
    assert {"mine.tar", "clawkakad-20260101T030000Z.tar.bak", old[-1]} < set(names)


async def test_what_a_killed_backup_left_is_no_hindrance(home: Installation, tmp_path: Path) -> None:
    await home.person(ANN)
    (tmp_path / ".b.tar.partial").write_text("half")
    await home.ok("backup", tmp_path / "b.tar")

    assert [tmp_path / "b.tar"] == list(tmp_path.iterdir())


async def test_two_do_not_write_one_file_at_a_time(home: Installation, tmp_path: Path) -> None:
    await home.person(ANN)
    name = "clawkakad-20260101T030000Z.tar"
    async with sink.written(tmp_path / name, []) as file:
        second = await home.clawkakad("backup", tmp_path / name)
        assert f"another command is writing {tmp_path / name}" == str(second.exception)
        await home.ok("backup", tmp_path / "b.tar")  # which clears the directory first
        await file.write(b"whole")

    assert "whole" == (tmp_path / name).read_text()
    assert {name, "b.tar"} == {path.name for path in tmp_path.iterdir()}


async def test_a_slash_at_the_end_means_a_directory(home: Installation, tmp_path: Path) -> None:
    await home.person(ANN)
    for words in (("backup", f"{tmp_path}/none/"), ("user", "export", ANN, f"{tmp_path}/none/")):
        result = await home.clawkakad(*words)
        assert isinstance(result.exception, UsageError)
        assert f"there is no directory {tmp_path}/none: make it first" in str(result.exception)
    assert [] == list(tmp_path.iterdir())
    (tmp_path / "none").mkdir()
    await home.ok("backup", f"{tmp_path}/none/")

    assert 1 == len(list((tmp_path / "none").iterdir()))


async def test_a_missing_program_for_encryption_is_said(home: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    await home.person(ANN)
    monkeypatch.setenv("PATH", str(home.directory))
    result = await home.clawkakad("backup", "--age", "age1x")

    assert "age is not on this machine" in str(result.exception)


@pytest.mark.skipif(shutil.which("gpg") is None, reason="no gpg here")
async def test_gpg_encrypts_what_touches_the_disk(
    home: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, anns = await home.person(ANN)
    home.spend(anns, "CANARY")
    monkeypatch.setenv("GNUPGHOME", str(home.directory / "gpg"))
    (home.directory / "gpg").mkdir(mode=0o700)
    options = ["--batch", "--passphrase", "", "--quick-generate-key", "op@example.org", "default", "default", "never"]
    await _run("gpg", *options)
    file = tmp_path / "b.tar.gpg"
    await home.ok("backup", file, "--gpg", "op@example.org")
    home.spend(anns, "after")
    assert b"registry.sqlite" not in file.read_bytes()
    await home.ok("restore", file, "--yes")
    await _run("gpgconf", "--kill", "all")

    assert ["CANARY"] == home.expenses(anns)
    misnamed = await home.clawkakad("backup", tmp_path / "c.tar", "--gpg", "op@example.org")
    assert "name it c.tar.gpg: restore knows by that" in str(misnamed.exception)
    unknown = await home.clawkakad("backup", tmp_path / "c.tar.gpg", "--gpg", "nobody@example.org")
    assert "gpg failed" in str(unknown.exception)
    assert [file] == list(tmp_path.iterdir())


@pytest.mark.parametrize("code", [0, 2])
async def test_a_command_that_ends_early_is_given_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    given = 0
    with pytest.raises(UsageError, match=f"sh failed: it ended with exit code {code}"):
        async with sink.written(tmp_path / "b", ["/bin/sh", "-c", f"exit {code}"]) as pipe:
            while given < 100:
                await pipe.write(bytes(100_000))
                given += 1

    assert given < 10
    assert [] == caplog.records
    assert [] == list(tmp_path.iterdir())


async def _run(*words: str) -> None:
    process = await asyncio.create_subprocess_exec(*words, stderr=asyncio.subprocess.DEVNULL)
    assert 0 == await process.wait()


async def test_without_a_yes_nothing_is_put_back(home: Installation, tmp_path: Path) -> None:
    _, anns = await home.person(ANN)
    file = tmp_path / "b.tar"
    await home.ok("backup", file)
    home.spend(anns, "after")
    for typed in ("n\n", ""):
        result = await home.clawkakad("restore", file, typed=typed)
        assert f" UTC, into {home.state}? [y/N]" in result.output
        assert isinstance(result.exception, UsageError)
        assert "nothing was put back" == str(result.exception)

    assert ["after"] == home.expenses(SandboxId(anns))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")
async def test_what_root_makes_belongs_to_the_service(home: Installation) -> None:
    await home.person(ANN)
    (home.state / "secret").write_text("s3cret")
    shutil.chown(home.state, 1234, 1234)
    await home.ok("backup")
    (file,) = (home.state / "backups").iterdir()
    await home.ok("restore", file, "--yes")

    made = [path for path in home.state.rglob("*") if path.name not in ("instance",) and "before" not in str(path)]
    assert {file, home.state / "backup.lock", home.state / "clawkakad.lock", home.state / "secret"} < set(made)
    assert [] == [path for path in made if path.stat().st_uid != 1234]
