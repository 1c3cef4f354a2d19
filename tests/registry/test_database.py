"""The file: pragmas that hold, transactions that roll back, migrations that only go forward."""

import asyncio
import math
import sqlite3
import time
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path

import pytest

from clawkakad import faults
from clawkakad.errors import RegistryUnavailable, UsageError
from clawkakad.model import InboxState, OutboxState, ReminderState, SandboxState, StepState, UpgradeState
from clawkakad.registry import Registry, locked, open_registry, read_registry
from clawkakad.registry import database as database_module
from clawkakad.registry.commits import MANY
from clawkakad.registry.schema import statements
from clawkakad.registry.transaction import Transaction, Work
from tests.support import counted_commits, eventually, held_by_another

MIGRATIONS = Path(database_module.__file__).parent / "migrations"
OLD_ROWS = """
INSERT INTO users VALUES ('u1', NULL, 'UTC', 'EUR', 'en', NULL, 't', NULL);
INSERT INTO inbox VALUES
    (4, 'k4', 'wamid.4', 'u1', 'text', 'hello', '{}', NULL, 0, 't', 't', 'answered', 1, 'hello', 't', ''),
    (5, 'k5', 'wamid.5', 'u1', 'text', 'again', '{}', NULL, 0, 't', 't', 'received', 0, NULL, 't', '');
INSERT INTO outbox VALUES (7, 'o7', 's7', 'reply', 'u1', 'hi', 'read', 1, 'wamid.7', 't', 't', 't', '');
INSERT INTO sandboxes VALUES ('s1', 'u1', 'ready', '', 'c', 'i', 'h', 'k', 1, 't', 'u');
INSERT INTO outbox VALUES (8, 'o8', 's8', 'reply', 'u1', 'ho', 'ambiguous', 1, NULL, 't', 't', 't', '');
"""


@pytest.fixture
async def registry(registry: Registry) -> Registry:
    """With a table to write into."""
    await registry.db.execute("CREATE TABLE scratch (at TEXT) STRICT")
    return registry


async def test_the_file_is_private_and_safe(registry: Registry, tmp_path: Path) -> None:
    assert (tmp_path / "registry.sqlite").stat().st_mode & 0o777 == 0o600
    pragmas = ("journal_mode", "synchronous", "foreign_keys")
    values = await registry.db.write(lambda tx: [tx.one(f"PRAGMA {pragma}")[0] for pragma in pragmas])
    assert values == ["wal", 2, 1]


def insert(at: str) -> Work[int]:
    return lambda tx: tx.execute("INSERT INTO scratch VALUES (:at)", {"at": at})


async def kept(registry: Registry) -> list[str]:
    return [row["at"] for row in await registry.db.all("SELECT at FROM scratch ORDER BY at")]


async def test_an_error_undoes_what_its_work_did(registry: Registry) -> None:
    def fail(tx: Transaction) -> None:
        insert("t")(tx)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await registry.db.write(fail)

    assert await kept(registry) == []


def crowded(registry: Registry) -> None:
    """As if a commit had just ended."""
    registry.db._writer._ended_at = math.inf


async def test_works_of_one_moment_share_a_commit_and_no_failure(registry: Registry) -> None:
    crowded(registry)

    def one(number: int) -> Work[None]:
        def work(tx: Transaction) -> None:
            insert(str(number))(tx)
            if number % 2:
                raise ZeroDivisionError

        return work

    with counted_commits() as commits:
        ends = await asyncio.gather(*(registry.db.write(one(n)) for n in range(10)), return_exceptions=True)

    assert [isinstance(end, ZeroDivisionError) for end in ends] == [n % 2 == 1 for n in range(10)]
    assert await kept(registry) == ["0", "2", "4", "6", "8"]
    assert commits == ["commit"]


async def test_after_a_quiet_moment_the_first_is_written_at_once_and_the_others_together(registry: Registry) -> None:
    registry.db._writer._ended_at = -math.inf
    with counted_commits() as commits:
        first = asyncio.create_task(registry.db.write(insert("0")))
        others = [asyncio.create_task(registry.db.write(insert(str(number)))) for number in range(1, 5)]
        await asyncio.sleep(0)
        assert (first.done(), commits) == (True, ["commit"])
        await asyncio.gather(*others)

    assert await kept(registry) == ["0", "1", "2", "3", "4"]
    assert commits == ["commit", "commit"]


async def test_a_mistake_in_what_follows_a_commit_is_nobody_elses(registry: Registry) -> None:
    crowded(registry)

    def then(_: object) -> None:
        raise ZeroDivisionError

    with_mistake = registry.db.write(insert("a"), then=then)
    await asyncio.gather(with_mistake, registry.db.write(insert("b")))

    assert await kept(registry) == ["a", "b"]


async def test_who_is_given_up_by_what_follows_a_commit_takes_nobody_along(registry: Registry) -> None:
    crowded(registry)
    told: list[object] = []

    def then(got: object) -> None:
        told.append(got)
        first.cancel()

    first = asyncio.create_task(registry.db.write(insert("a"), then=then))
    second = asyncio.create_task(registry.db.write(insert("b"), then=told.append))
    await asyncio.wait([first, second])

    assert (first.cancelled(), second.result(), told) == (True, 1, [1, 1])
    assert await kept(registry) == ["a", "b"]


@pytest.mark.parametrize("on_thread", [False, True], ids=["here", "on a thread"])
@pytest.mark.parametrize("is_crowded", [True, False])
async def test_what_is_begun_ahead_of_a_commit_gets_away_before_it(
    registry: Registry, is_crowded: bool, on_thread: bool
) -> None:
    registry.db._writer._ended_at = math.inf if is_crowded else -math.inf
    registry.db._writer._commits._detour_until = math.inf if on_thread else -math.inf
    seen: list[str] = []
    begun: list[asyncio.Task[None]] = []

    async def step() -> None:
        seen.append("step")

    def ahead(result: int) -> bool:
        seen.append(f"ahead {result}")
        begun.append(asyncio.create_task(step()))
        return True

    def then(result: int | None) -> None:
        seen.append(f"then {result}")

    faults.arm(lambda point: seen.append(point) if point == "commit" else None)
    try:
        await registry.db.write(insert("a"), ahead=ahead, then=then)
    finally:
        faults.arm(None)

    assert seen == ["ahead 1", "step", "commit", "then 1"]
    assert await kept(registry) == ["a"]


async def test_nothing_is_begun_ahead_of_what_failed_and_a_mistake_in_it_is_nobody_elses(registry: Registry) -> None:
    crowded(registry)
    begun: list[object] = []

    def failing(tx: Transaction) -> None:
        raise ZeroDivisionError

    def mistaken(_: object) -> bool:
        raise ZeroDivisionError

    failed, *_ = await asyncio.gather(
        registry.db.write(failing, ahead=lambda got: bool(begun.append(got))),
        registry.db.write(insert("a"), ahead=mistaken),
        registry.db.write(insert("b"), ahead=lambda got: bool(begun.append(got))),
        return_exceptions=True,
    )

    assert isinstance(failed, ZeroDivisionError)
    assert len(begun) == 1
    assert await kept(registry) == ["a", "b"]


async def test_what_follows_commits_comes_before_all_who_wait_for_them(registry: Registry) -> None:
    crowded(registry)
    seen: list[str] = []

    async def write(name: str, then: Callable[[object], None]) -> None:
        await registry.db.write(insert(name), then=then)
        seen.append(name)

    await asyncio.gather(write("a", lambda _: None), write("b", lambda _: seen.append("then")))

    assert seen == ["then", "a", "b"]


@pytest.mark.parametrize("on_thread", [False, True], ids=["here", "on a thread"])
@pytest.mark.parametrize("ticks", range(1, 7))
async def test_who_gives_up_at_any_moment_is_told_what_became_of_it(
    registry: Registry, ticks: int, on_thread: bool
) -> None:
    registry.db._writer._commits._detour_until = math.inf if on_thread else -math.inf
    told: list[object] = []
    writing = asyncio.create_task(registry.db.write(insert("a"), ahead=lambda _: True, then=told.append))
    for _ in range(ticks):
        await asyncio.sleep(0)
    writing.cancel()
    await asyncio.wait([writing])
    await registry.db.settle()

    assert told == ([1] if await kept(registry) else [None])


async def test_what_follows_a_commit_is_done_in_the_context_of_who_asked(registry: Registry) -> None:
    crowded(registry)
    who: ContextVar[str] = ContextVar("who")
    heard: list[str] = []

    async def write(name: str) -> None:
        who.set(name)
        await registry.db.write(lambda tx: insert(name)(tx) or name, then=lambda _: heard.append(who.get()))

    await asyncio.gather(write("a"), write("b"))

    assert heard == ["a", "b"]


async def test_works_beside_one_that_fails_are_done_twice_and_no_more(registry: Registry) -> None:
    crowded(registry)
    tries: list[str] = []

    def good(tx: Transaction) -> None:
        tries.append("good")
        insert("good")(tx)

    def bad(tx: Transaction) -> None:
        raise ZeroDivisionError

    await asyncio.gather(registry.db.write(good), registry.db.write(bad), return_exceptions=True)

    assert tries == ["good", "good"]
    assert await kept(registry) == ["good"]


@pytest.mark.parametrize("count", [1, MANY], ids=["now", "by a task"])
async def test_a_work_that_raises_what_no_future_takes_fails_alone(registry: Registry, count: int) -> None:
    def bad(tx: Transaction) -> None:
        raise StopIteration

    ends = await asyncio.gather(
        registry.db.write(bad), *(registry.db.write(insert(f"{n}")) for n in range(count)), return_exceptions=True
    )

    assert isinstance(ends[0], RuntimeError)
    assert len(await kept(registry)) == count


async def test_after_the_end_of_the_program_in_a_work_the_next_is_written(registry: Registry) -> None:
    """The loop goes on for a while, and the registry is still to be closed."""

    class End(BaseException):
        pass

    def bad(tx: Transaction) -> None:
        insert("half")(tx)
        raise End

    loop = asyncio.get_running_loop()
    escaped: list[object] = []
    loop.set_exception_handler(lambda _, context: escaped.append(context.get("exception")))
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(5):
            await registry.db.write(bad)
    await registry.db.write(insert("next"))

    assert [type(error) for error in escaped] == [End]
    assert await kept(registry) == ["next"]


async def test_a_write_to_a_closed_file_is_an_error_and_no_wait(tmp_path: Path, clock) -> None:
    async with open_registry(tmp_path / "r.sqlite", clock) as registry:
        pass

    with pytest.raises(ValueError, match=r"closed|no active connection"):
        await asyncio.wait_for(registry.db.write(insert("late")), 5)


@pytest.mark.parametrize("ticks", range(4))
async def test_a_writer_that_is_cancelled_leaves_the_way_free(registry: Registry, tmp_path: Path, ticks: int) -> None:
    with held_by_another(tmp_path / "registry.sqlite"):
        writing = asyncio.create_task(registry.db.write(insert("first")))
        await eventually(lambda: registry.db._writer._patient is not None, every_s=0)
        for _ in range(ticks):
            await asyncio.sleep(0)
        assert registry.db._writer._patient is not None
        registry.db._writer._patient.cancel()
        await asyncio.wait([writing], timeout=5)

    assert writing.cancelled()
    await registry.db.settle()


@pytest.mark.parametrize("is_crowded", [True, False])
async def test_works_are_carried_out_in_the_order_of_their_asking(registry: Registry, is_crowded: bool) -> None:
    registry.db._writer._ended_at = math.inf if is_crowded else -math.inf
    done: list[int] = []
    await asyncio.gather(*(registry.db.write(lambda _, n=n: done.append(n)) for n in range(300)))

    assert done == list(range(300))


async def commits_of(registry: Registry, *, leisurely: int, then: int) -> int:
    """How many commits it takes to write so many works that have time, and a moment later such as have none."""
    count = 0

    def note(sql: str) -> None:
        nonlocal count
        count += sql == "COMMIT"

    registry.db._writer._commits.connection.set_trace_callback(note)
    try:
        with_time = [asyncio.create_task(registry.db.write(insert("t"), within_s=0.2)) for _ in range(leisurely)]
        await asyncio.sleep(0.02)
        await asyncio.gather(*(registry.db.write(insert("u")) for _ in range(then)))
        assert all(task.done() for task in with_time) is (then > 0)
        await asyncio.gather(*with_time)
    finally:
        registry.db._writer._commits.connection.set_trace_callback(None)
    return count


async def test_what_has_time_shares_the_commit_of_what_has_none(registry: Registry) -> None:
    assert await commits_of(registry, leisurely=3, then=1) == 1
    assert await kept(registry) == ["t", "t", "t", "u"]


async def test_what_has_time_and_no_company_is_written_when_that_is_over(registry: Registry) -> None:
    began = time.monotonic()
    assert await commits_of(registry, leisurely=3, then=0) == 1
    assert time.monotonic() - began >= 0.19
    assert await kept(registry) == ["t", "t", "t"]


async def test_what_has_time_and_comes_just_before_a_commit_is_in_it_and_no_empty_one_follows(
    registry: Registry,
) -> None:
    crowded(registry)
    count = 0

    def note(sql: str) -> None:
        nonlocal count
        count += sql == "COMMIT"

    registry.db._writer._commits.connection.set_trace_callback(note)
    urgent = registry.db.write(insert("u"))
    await asyncio.gather(urgent, *(registry.db.write(insert("t"), within_s=0.1) for _ in range(50)))
    await asyncio.sleep(0.2)
    registry.db._writer._commits.connection.set_trace_callback(None)

    assert count == 1
    assert len(await kept(registry)) == 51


async def test_who_has_time_and_gives_up_is_not_written(registry: Registry) -> None:
    giving_up = asyncio.create_task(registry.db.write(insert("t"), within_s=0.05))
    await asyncio.sleep(0)
    giving_up.cancel()
    await asyncio.sleep(0.1)

    assert await kept(registry) == []
    await registry.db.write(insert("u"), within_s=0.05)
    assert await kept(registry) == ["u"]


async def test_what_has_time_has_none_when_the_file_is_closed(tmp_path: Path, clock) -> None:
    async with open_registry(tmp_path / "f.sqlite", clock) as registry:
        await registry.db.execute("CREATE TABLE scratch (at TEXT) STRICT")
        writing = asyncio.create_task(registry.db.write(insert("t"), within_s=60.0))
        await asyncio.sleep(0)

    assert await asyncio.wait_for(writing, 1) == 1
    async with open_registry(tmp_path / "f.sqlite", clock) as registry:
        assert await kept(registry) == ["t"]


async def test_a_lock_of_another_process_is_unavailable_not_a_crash(registry: Registry, tmp_path: Path) -> None:
    with held_by_another(tmp_path / "registry.sqlite"), pytest.raises(RegistryUnavailable, match="locked"):
        await registry.db.write(insert("t"))

    await registry.db.write(insert("u"))
    assert await kept(registry) == ["u"]


async def test_what_was_asked_for_is_written_before_the_file_is_closed(tmp_path: Path, clock) -> None:
    async with open_registry(tmp_path / "r.sqlite", clock) as registry:
        await registry.db.execute("CREATE TABLE scratch (at TEXT) STRICT")
        asked = asyncio.create_task(registry.db.write(insert("t")))
        await asyncio.sleep(0)

    assert await asked == 1
    async with read_registry(tmp_path / "r.sqlite", clock) as registry:
        assert await kept(registry) == ["t"]


async def test_a_newer_file_is_refused(tmp_path: Path, clock) -> None:
    path = tmp_path / "newer.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()

    with pytest.raises(UsageError, match="newer clawkakad"):
        async with open_registry(path, clock):
            pass


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path, clock) -> None:
    path = tmp_path / "text.sqlite"
    path.write_text("this is a letter, not a database, and long enough to be read as a header\n" * 20)

    with pytest.raises(UsageError, match="cannot be used as the registry"):
        async with open_registry(path, clock):
            pass


async def test_looking_needs_a_registry(tmp_path: Path, clock) -> None:
    with pytest.raises(UsageError, match="has the daemon ever run"):
        async with read_registry(tmp_path / "none.sqlite", clock):
            pass


def test_one_daemon_per_state_directory(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(UsageError, match="another clawkakad"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


async def test_states_of_code_and_schema_agree(registry: Registry) -> None:
    rows = await registry.db.all("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
    sql = {row["name"]: row["sql"] for row in rows}
    pairs = {"inbox": InboxState, "outbox": OutboxState, "sandboxes": SandboxState, "reminders": ReminderState}
    pairs |= {"upgrades": UpgradeState, "upgrade_steps": StepState}

    for table, states in pairs.items():
        check = sql[table].split("CHECK (state IN (")[1].split("))")[0]
        assert {word.strip(" \n'") for word in check.split(",")} == {state.value for state in states}


def test_statements_are_cut_at_their_ends_only() -> None:
    script = "CREATE TABLE a (b TEXT DEFAULT ';');\nINSERT INTO a VALUES ('x;\ny');\n"

    assert len(list(statements(script))) == 2


@pytest.mark.parametrize("ticks", range(8))
async def test_a_cancellation_at_any_moment_of_a_write_leaves_the_writer_free(registry: Registry, ticks: int) -> None:
    task = asyncio.create_task(registry.db.write(insert("t")))
    for _ in range(ticks):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    await registry.db.write(insert("u"))
    assert await kept(registry) in (["u"], ["t", "u"])


async def test_what_is_written_through_is_told_before_anybody_else_learns_of_it(registry: Registry) -> None:
    told: list[str | None] = []

    async def write() -> None:
        def work(tx: Transaction) -> str:
            insert("t")(tx)
            return "done"

        told.append(await registry.db.write_through(work, lambda got: told.append(f"then {got}"), within_s=1))

    await write()

    assert told == ["then done", "done"]


async def test_what_cannot_be_written_through_is_told_too(registry: Registry) -> None:
    told: list[object] = []

    def work(tx: Transaction) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await registry.db.write_through(work, told.append, within_s=1)

    assert told == [None]
    assert await kept(registry) == []


@pytest.mark.parametrize("is_crowded", [True, False])
@pytest.mark.parametrize("ticks", range(6))
async def test_cancelled_at_any_moment_it_is_told_what_became_of_it(
    registry: Registry, ticks: int, is_crowded: bool
) -> None:
    registry.db._writer._ended_at = math.inf if is_crowded else -math.inf
    told: list[str | None] = []

    def work(tx: Transaction) -> str:
        insert("t")(tx)
        return "done"

    writing = asyncio.create_task(registry.db.write_through(work, told.append, within_s=5))
    for _ in range(ticks):
        await asyncio.sleep(0)
    writing.cancel()
    await asyncio.wait([writing])
    await registry.db.settle()

    assert len(told) == (1 if ticks else 0)  # before its first step there is nothing to tell of
    assert await kept(registry) == (["t"] if told == ["done"] else [])


@pytest.mark.parametrize("is_first", [False, True], ids=["behind another", "itself"])
async def test_who_has_waited_long_enough_for_a_lock_is_told_that_nothing_is_stored(
    registry: Registry, tmp_path: Path, is_first: bool
) -> None:
    told: list[object] = []
    with held_by_another(tmp_path / "registry.sqlite"):
        if not is_first:  # waits for the lock, and the next one for it
            first = asyncio.create_task(registry.db.write(insert("first")))
            await asyncio.sleep(0.01)
        writing = asyncio.create_task(registry.db.write_through(insert("t"), told.append, within_s=0.01))
        await asyncio.sleep(0.01)

        writing.cancel()
        await asyncio.wait([writing])
        await asyncio.sleep(0)
    if not is_first:
        await first
    await registry.db.settle()

    assert told == [None]
    assert await kept(registry) == ([] if is_first else ["first"])


@pytest.mark.parametrize("ticks", range(6))
async def test_a_cancelled_read_does_not_make_the_next_one_stale(registry: Registry, ticks: int) -> None:
    for number in range(50):
        await registry.db.write(insert(str(number)))
    task = asyncio.create_task(registry.db.one("SELECT * FROM scratch"))
    for _ in range(ticks):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await registry.db.execute("DELETE FROM scratch")

    assert await kept(registry) == []


async def test_a_file_of_the_first_schema_keeps_everything(tmp_path: Path, clock) -> None:
    path = tmp_path / "old.sqlite"
    with sqlite3.connect(path) as old:
        for statement in statements((MIGRATIONS / "0001_first.sql").read_text()):
            old.execute(statement)
        old.execute("PRAGMA user_version = 1")
        for statement in statements(OLD_ROWS):
            old.execute(statement)
    old.close()

    async with open_registry(path, clock) as registry:
        inbox = await registry.db.all("SELECT id, wamid, state, turn, attempt, prompt FROM inbox ORDER BY id")
        outbox = await registry.db.all("SELECT id, state, unknowns, sent_at FROM outbox ORDER BY id")
        sandboxes = await registry.db.all("SELECT * FROM sandboxes")
        broken = await registry.db.all("PRAGMA foreign_key_check")

    assert [tuple(row) for row in inbox] == [
        (4, "wamid.4", "answered", 4, 1, "hello"),
        (5, "wamid.5", "received", None, 0, None),
    ]
    assert [tuple(row) for row in outbox] == [(7, "read", 0, "t"), (8, "ambiguous", 1, None)]
    (sandbox,) = [dict(row) for row in sandboxes]
    kept = ["s1", "u1", "ready", "", "c", "i", "h", "k", 1]
    assert list(sandbox.values()) == [*kept, 0, None, None, None, 0, None, "t", "u", "i", 0, 0]
    assert broken == []


async def test_a_look_at_a_file_of_another_schema_says_what_to_do(tmp_path: Path, clock) -> None:
    path = tmp_path / "old.sqlite"
    with sqlite3.connect(path) as old:
        old.execute("PRAGMA user_version = 1")
    old.close()

    with pytest.raises(UsageError, match="restart the daemon"):
        async with read_registry(path, clock):
            pass
