"""`clawkakad outbox`, `clawkakad inbox` and the doctor's line, beside a running daemon."""

import re
from pathlib import Path

import pytest

from clawkakad.simulator.knobs import Trouble
from clawkakad.simulator.people import Person
from tests.scenarios.conftest import Stage, known
from tests.scenarios.test_commands import change, command
from tests.support import eventually

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def settings() -> dict[str, str]:
    return known(CLAWKAKA_SETTLE_S="1", CLAWKAKA_BURST_S="0", CLAWKAKA_RESENDS="0")


def turn(stage: Stage, **knobs: object) -> None:
    stage.world.simulator.exchange.knobs = stage.world.simulator.exchange.knobs.turned(knobs)


async def held(stage: Stage) -> Person:
    """Somebody with a message of which nobody knows whether it was sent (it was not)."""
    robin = stage.world.person("Robin", "+91 98765 43210")
    await stage.world.daemon.start()
    await stage.world.ask(robin, "hello")
    turn(stage, next_troubles=[Trouble.RESET])
    stage.world.say(robin, "a private matter")
    await eventually(lambda: stage.world.daemon.rows("SELECT 1 FROM outbox WHERE hold = 'unknown'"), within_s=15)
    return robin


async def test_what_needs_no_look_is_said_in_a_sentence(stage: Stage) -> None:
    await stage.world.daemon.start()
    await stage.world.ask(stage.person(), "hello")
    await eventually(lambda: not stage.world.daemon.rows("SELECT 1 FROM inbox WHERE state <> 'answered'"))

    out, in_ = await command(stage, "outbox", "list"), await command(stage, "inbox", "list")

    assert out == (0, "nothing is on its way, nothing is held, and nothing failed in the last day\n")
    assert in_[0] == 0
    assert in_[1].startswith("no message waits for a turn, none is parked, and none failed in the last day\n")
    assert "clawkakad outbox list" in in_[1]
    assert "reply" in (await command(stage, "outbox", "list", "--all"))[1]
    assert "Robin" in (await command(stage, "inbox", "list", "--state", "answered"))[1]


async def test_a_held_message_is_listed_and_sent_again_while_the_daemon_runs(stage: Stage) -> None:
    robin = await held(stage)

    code, output = await command(stage, "outbox", "list")
    assert code == 0
    for seen in ("Robin 91…10", "reply", "held", "1 (1 unknown)", "nobody knows whether it was sent"):
        assert seen in output
    assert "private" not in output
    assert robin.wa_id not in output
    assert "a private matter" in (await command(stage, "outbox", "list", "--text", "--user", "Robin"))[1]

    id_ = re.search(r"^(\d+) ", output, re.MULTILINE)
    assert id_ is not None
    code, output = await command(stage, "outbox", "retry", id_[1])
    assert (code, output) == (0, "1 message is queued again\nit may have arrived before: nobody knows\n")
    assert (await stage.world.hears(robin, 2, within_s=10))[1] == "echo: a private matter"

    async def listed() -> bool:
        output = (await command(stage, "outbox", "list"))[1]
        return "2 (1 unknown)" in output and "it may have arrived 2 times" in output

    await eventually(listed)


async def test_a_message_that_is_dropped_is_not_sent_and_may_be_called_back(stage: Stage) -> None:
    robin = await held(stage)
    (row,) = stage.world.daemon.rows("SELECT id FROM outbox WHERE state = 'held'")

    dropped = (0, "1 message is dropped\nit may have arrived: nobody knows\n")
    assert await command(stage, "outbox", "drop", str(row["id"])) == dropped
    assert "nothing is held" in (await command(stage, "outbox", "list"))[1]
    assert (await command(stage, "outbox", "retry", "--all"))[1] == "0 messages are queued again\n"

    assert (await command(stage, "outbox", "retry", str(row["id"])))[0] == 0
    await stage.world.hears(robin, 2, within_s=10)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["retry", "99"], "there is no message 99 in the outbox; nothing was changed"),
        (["drop", "99"], "there is no message 99 in the outbox; nothing was changed"),
        (["retry", "9" * 23], f"there is no message {'9' * 23} in the outbox; nothing was changed"),
        (["drop", "9" * 23], f"there is no message {'9' * 23} in the outbox; nothing was changed"),
        (["retry", "1"], "only held, failed, dropped ones can be sent again; nothing was changed"),
        (["retry"], "name the ids of messages, or --all: `clawkakad outbox list` shows them"),
        (["retry", "1", "--all"], "name the ids of messages, or --all: `clawkakad outbox list` shows them"),
        (["list", "--user", "Nobody"], "nobody here is called 'Nobody': `clawkakad users` lists everybody"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_what_cannot_be_done_is_told_in_a_line(stage: Stage, words: list[str], said: str) -> None:
    await stage.world.daemon.start()
    await stage.world.ask(stage.person(), "hello")

    code, output = await command(stage, "outbox", *words)

    assert code == 2
    assert output.count("\n") == 1
    assert output.endswith(f"{said}\n")


async def test_what_is_no_id_is_told_in_plain_words(stage: Stage) -> None:
    code, output = await command(stage, "outbox", "retry", "first")

    assert code == 2
    assert "'first' is no id" in output


async def test_the_help_names_the_program_and_what_all_is(stage: Stage) -> None:
    code, output = await command(stage, "outbox", "retry", "--help")

    assert code == 0
    assert "Usage: clawkakad outbox retry " in output
    assert "All that nobody knows the fate of, and all that failed in the last day." in output


async def test_a_retry_without_a_daemon_says_when_it_goes_on(stage: Stage) -> None:
    await held(stage)
    await stage.world.daemon.stop()

    code, output = await command(stage, "outbox", "retry", "--all")

    assert code == 0
    assert output.endswith("\nno daemon runs now: sending goes on when it does\n")


async def refused(stage: Stage, code: int, state: str) -> int:
    """The id of a reply that Meta refused with a code."""
    robin = stage.person()
    await stage.world.daemon.start()
    await stage.world.ask(robin, "hello")
    turn(stage, next_errors=[code])
    stage.world.say(robin, "refused")
    sql = f"SELECT id FROM outbox WHERE state = '{state}'"
    await eventually(lambda: stage.world.daemon.rows(sql), within_s=15)
    return int(stage.world.daemon.rows(sql)[0]["id"])


async def test_what_meta_held_for_the_window_says_so_in_words(stage: Stage) -> None:
    id_ = await refused(stage, 131047, "held")

    output = (await command(stage, "outbox", "list"))[1]
    assert "the service window is closed: it goes out when the person writes" in output
    assert "error 131047" in output

    output = (await command(stage, "outbox", "retry", str(id_)))[1]
    assert "it will be held again until its person writes: the service window is closed" in output


async def test_what_failed_has_metas_advice_beside_it(stage: Stage) -> None:
    await refused(stage, 130403, "failed")

    output = (await command(stage, "outbox", "list"))[1]

    assert "error 130403" in output
    assert "→ this person is blocked for your number: unblock them in WhatsApp Manager" in output


class TestUnsettled:
    @pytest.fixture
    def settings(self) -> dict[str, str]:
        return known(CLAWKAKA_SETTLE_S="60", CLAWKAKA_BURST_S="0")

    async def test_what_is_not_settled_says_why_and_until_when_and_who_waits_for_it(self, stage: Stage) -> None:
        robin = stage.person()
        await stage.world.daemon.start()
        await stage.world.ask(robin, "hello")
        turn(stage, next_troubles=[Trouble.RESET])
        for text in ("one", "two"):
            stage.world.say(robin, text)
        sql = "SELECT id, state FROM outbox WHERE state IN ('ambiguous', 'queued') ORDER BY id"
        await eventually(lambda: len(stage.world.daemon.rows(sql)) == 2, within_s=15)
        first, second = stage.world.daemon.rows(sql)
        assert first["state"] == "ambiguous"

        output = (await command(stage, "outbox", "list"))[1]
        assert "no answer from WhatsApp: the connection broke" in output
        assert "waits for WhatsApp's status, a minute or a few, then is sent again or held" in output
        queued = (await command(stage, "outbox", "list", "--state", "queued"))[1]
        assert queued.startswith("id")
        assert f"waits for message {first['id']}, of which nobody knows yet whether it was sent" in queued

        output = (await command(stage, "outbox", "drop", str(first["id"]), str(second["id"])))[1]
        assert output == "2 messages are dropped\n1 of them may have arrived: nobody knows\n"


async def test_one_wrong_id_changes_nothing(stage: Stage) -> None:
    await held(stage)
    (row,) = stage.world.daemon.rows("SELECT id FROM outbox WHERE state = 'held'")

    assert (await command(stage, "outbox", "retry", str(row["id"]), "99"))[0] == 2

    assert stage.world.daemon.rows("SELECT id FROM outbox WHERE state = 'held'") == [row]


async def test_paused_sending_is_told_with_what_to_do_and_tried_on_request(stage: Stage) -> None:
    robin = stage.person()
    await stage.world.daemon.start()
    await stage.world.ask(robin, "hello")
    turn(stage, next_errors=[131042])
    stage.world.say(robin, "unpaid")
    await eventually(lambda: stage.world.daemon.rows("SELECT 1 FROM pauses"), within_s=10)

    code, output = await command(stage, "outbox", "list")
    assert code == 0
    assert output.startswith("Sending is paused, begun ")
    assert "payment method" in output.splitlines()[1]
    assert "queued" in output

    doctor = (await command(stage, "doctor"))[1]
    assert re.search(r"^messages +no +sending is paused: error 131042", doctor, re.MULTILINE), doctor
    (row,) = stage.world.daemon.rows("SELECT id FROM outbox WHERE state = 'queued'")
    for said in (output, doctor):
        assert "or now: clawkakad outbox retry ID, of one that is queued" in " ".join(said.split())
    assert [line for line in stage.world.daemon.logged() if line.get("level") == "ERROR"]

    tried = await command(stage, "outbox", "retry", str(row["id"]))
    assert tried == (0, "sending was paused: one message is tried now\n")
    assert (await stage.world.hears(robin, 2, within_s=10))[1] == "echo: unpaid"
    await eventually(lambda: not stage.world.daemon.rows("SELECT 1 FROM pauses"))
    assert re.search(r"^messages +ok", (await command(stage, "doctor"))[1], re.MULTILINE)


@pytest.mark.parametrize("columns", [45, 80])
async def test_a_narrow_terminal_has_readable_lines(stage: Stage, columns: int) -> None:
    await held(stage)
    stage.world.daemon.environ = {**stage.world.daemon.environ, "COLUMNS": str(columns)}

    output = (await command(stage, "outbox", "list"))[1]

    assert max(map(len, output.splitlines())) <= columns
    at = r"\d\d [A-Z][a-z]{2} \d\d:\d\d"
    assert re.match(rf"\d+  Robin 91…10 · reply · held · \d+ s\n    {at} · tries: 1 \(1 unknown\)\n    nobody", output)


@pytest.mark.parametrize("columns", [45, 80, 120])
async def test_ids_can_be_copied_from_any_terminal(stage: Stage, columns: int) -> None:
    await stage.world.daemon.start()
    await stage.world.ask(stage.world.person("Robin of the long name", "+91 98765 43210"), "hello")
    (row,) = stage.world.daemon.rows("SELECT id, user_id FROM sandboxes")
    change(stage, f"UPDATE sandboxes SET reason = '{'a long reason ' * 9}'")
    stage.world.daemon.environ = {**stage.world.daemon.environ, "COLUMNS": str(columns)}

    people, sandboxes = (await command(stage, "users"))[1], (await command(stage, "sandbox", "list"))[1]

    assert max(map(len, (people + sandboxes).splitlines())) <= columns
    assert row["user_id"] in people
    assert row["id"] in sandboxes
    assert row["user_id"] in sandboxes
    assert "…" not in sandboxes


@pytest.mark.skipif(Path("/var/lib/clawkakad").exists(), reason="an installation is here")
async def test_where_nothing_is_the_way_to_a_trial_is_told(stage: Stage, tmp_path: Path) -> None:
    stage.world.daemon.environ = {}

    code, output = await command(stage, "users", cwd=tmp_path)  # the checkout may hold a trial

    assert code == 2
    assert "(in a trial's directory: run it where .clawkaka is)" in output


async def test_what_was_parked_is_listed_and_the_doctor_counts_it(stage: Stage) -> None:
    await held(stage)
    change(stage, "UPDATE inbox SET state = 'parked', attempt = 2, reason = 'interrupted twice' WHERE id = 1")

    output = (await command(stage, "inbox", "list"))[1]
    assert re.search(r"Robin 91…10 +text +parked", output)
    assert "interrupted twice" in output
    doctor = (await command(stage, "doctor"))[1]
    assert "1 of unknown outcome, 1 parked" in doctor
    assert "clawkakad outbox list; clawkakad inbox list" in doctor


async def test_a_registry_of_another_version_is_left_alone(stage: Stage) -> None:
    await stage.world.daemon.start()
    await stage.world.daemon.stop()
    change(stage, "PRAGMA user_version = 1")

    code, output = await command(stage, "outbox", "retry", "--all")

    assert code == 2
    assert "restart the daemon, or upgrade" in output
