"""Where a turn stands, read from recorded histories and from every shape that we could think of."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawkakad.gateway.history import (
    Aborted,
    Absent,
    Answered,
    Broken,
    Busy,
    History,
    Interrupted,
    Running,
    Standing,
    newest_reply,
    read_history,
    standing,
)
from tests.fakes.gateway_frames import DRAINING, assistant_row, failed_row, user_row
from tests.gateway.recordings import payloads
from tests.support import SCALE

RECOVERED = "the run that continues"


def recorded(name: str, index: int = -1) -> History:
    return read_history(payloads(name, "chat.history")[index])


def history(
    *rows: dict[str, Any], active: tuple[str, ...] = (), pending: tuple[str, ...] = (), status: str = "done"
) -> History:
    """A history with these rows and runs going on."""
    items = [{"id": run_id, "state": "queued", "runId": run_id} for run_id in pending]
    return read_history(
        {
            "messages": list(rows),
            "pendingInputs": {"items": items, "total": len(items)},
            "sessionInfo": {"activeRunIds": list(active), "status": status},
        }
    )


def tries(key: str) -> tuple[str, str]:
    return (key, f"{key}.2")


# Recorded ---------------------------------------------------------------------------------------------------------


def test_a_finished_turn_with_a_tool_call() -> None:
    assert standing(recorded("history-answered"), tries("k1")) == Answered("k1", "default answer")


def test_an_empty_history() -> None:
    assert standing(recorded("connect-sealed"), tries("k1")) == Absent()


def test_a_turn_whose_socket_dropped_goes_on_and_then_is_answered() -> None:
    assert standing(recorded("drop", 0), tries("d1")) == Running("d1")
    assert standing(recorded("drop", 1), tries("d1")) == Answered("d1", "w0 w1 w2 w3 w4 w5 w6 w7 default answer")


def test_an_aborted_turn_is_not_answered_by_its_beginning() -> None:
    assert standing(recorded("abort"), tries("a1")) == Aborted("a1")


def test_a_failed_turn_is_broken() -> None:
    where = standing(recorded("error-again"), tries("f1"))

    assert isinstance(where, Broken)
    assert "401" in where.text


def test_a_message_merged_into_a_running_turn_is_answered_there() -> None:
    assert standing(recorded("steer"), tries("s2")) == Answered("s1", "second")
    assert standing(recorded("steer"), tries("s1")) == Answered("s1", "w0 w1 w2 w3 w4 w5 default answer\n\nsecond")


def test_a_gateway_killed_in_mid_turn_continues_it_under_another_run_id() -> None:
    looks = [standing(recorded("restart-recovery", index), tries("r1")) for index in range(len(_restart()))]

    kinds = [type(look) for look in looks]
    assert kinds[0] is Running
    assert kinds[1] is Busy, "its own run id is active before its row is written"
    assert kinds[-2] is Running
    assert isinstance(looks[-1], Answered)
    assert looks[-1].text.endswith("default answer")
    assert looks[-1].run_id != "r1"


def _restart() -> list[dict[str, Any]]:
    return payloads("restart-recovery", "chat.history")


def test_a_message_of_a_gateway_that_died_before_it_was_written_is_aborted() -> None:
    left = recorded("orphaned")

    assert standing(left, tries("p1")) == Aborted("p1")
    assert standing(left, tries("p0")) == Interrupted("p0", "p0", due=False)
    assert standing(left, tries("m")) == Absent()


def test_a_message_that_was_stopped_before_it_was_written_is_aborted() -> None:
    assert standing(recorded("cancelled"), tries("o3")) == Aborted("o3")


def test_what_a_heartbeat_wrote_is_found_by_time() -> None:
    after = recorded("wake-history")

    found = newest_reply(after, since_ms=after.rows[-1].timestamp)
    assert found is not None
    assert found.text.startswith("Something is due")
    assert newest_reply(after, since_ms=after.rows[-1].timestamp + 1) is None


# Made up ----------------------------------------------------------------------------------------------------------


def test_a_message_that_was_accepted_and_not_written_yet_is_running() -> None:
    assert standing(history(pending=("k",)), tries("k")) == Running("k")


def test_a_message_that_a_dead_process_left_unwritten_is_aborted_and_in_nobodys_way() -> None:
    left = read_history({"messages": [], "pendingInputs": {"items": [{"runId": "k", "state": "interrupted"}]}})

    assert standing(left, tries("k")) == Aborted("k")
    assert standing(left, tries("m")) == Absent()


def test_what_a_stopping_gateway_did_not_begin_is_aborted() -> None:
    rows = (user_row("k", "x"), failed_row("k", DRAINING))

    assert standing(history(*rows), tries("k")) == Aborted("k")


def test_what_failed_before_a_reply_is_broken() -> None:
    rows = (user_row("k", "x"), failed_row("k", "no model"))

    assert standing(history(*rows), tries("k")) == Broken("k", "This turn ended before a reply: no model")


def test_another_run_is_waited_for_before_a_new_message_is_sent() -> None:
    assert standing(history(active=("heartbeat",)), tries("k")) == Busy("heartbeat")


def test_a_row_without_an_end_is_interrupted() -> None:
    assert standing(history(user_row("k", "x")), tries("k")) == Interrupted("k", "k", due=False)


def test_a_gateway_that_died_in_a_run_owes_its_continuation() -> None:
    assert standing(history(user_row("k", "x"), status="running"), tries("k")) == Interrupted("k", "k", due=True)


def test_a_heartbeat_after_an_interrupted_turn_is_not_its_answer() -> None:
    rows = (user_row("k", "x"), assistant_row("heartbeat", "Something is due"))

    assert standing(history(*rows), tries("k")) == Interrupted("k", "k", due=False)


def test_steps_on_the_way_are_no_answer() -> None:
    rows = (user_row("k", "x"), assistant_row("k", "let me see", stop="toolUse"))

    assert standing(history(*rows), tries("k")) == Interrupted("k", "k", due=False)


def test_a_later_turn_is_not_mixed_in() -> None:
    rows = (user_row("k", "x"), assistant_row("k", "one"), user_row("m", "y"), assistant_row("m", "two"))

    assert standing(history(*rows), tries("k")) == Answered("k", "one")
    assert standing(history(*rows), tries("m")) == Answered("m", "two")


def test_a_recovery_of_another_turn_is_not_ours() -> None:
    rows = (
        user_row("k", "x"),
        user_row("m", "y"),
        user_row(RECOVERED, "[System]", recovery=True),
        assistant_row(RECOVERED, "for m"),
    )

    assert standing(history(*rows), tries("k")) == Interrupted("k", "k", due=False)
    assert standing(history(*rows), tries("m")) == Answered(RECOVERED, "for m")


@pytest.mark.parametrize("stop", ["stop", "error"])
def test_a_recovery_after_the_end_of_the_turn_is_not_ours(stop: str) -> None:
    rows = (
        user_row("k", "x"),
        assistant_row("k", "mine", stop=stop),
        user_row(RECOVERED, "[System]", recovery=True),
        assistant_row(RECOVERED, "a heartbeat that was cut short"),
    )

    where = standing(history(*rows), tries("k"))

    assert where == (Answered("k", "mine") if stop == "stop" else Broken("k", "mine"))


def test_the_second_of_two_recoveries_answers() -> None:
    rows = (
        user_row("k", "x"),
        user_row("one", "[System]", recovery=True),
        user_row("two", "[System]", recovery=True),
        assistant_row("two", "done"),
    )

    assert standing(history(*rows), tries("k")) == Answered("two", "done")
    assert standing(history(*rows[:2]), tries("k")) == Interrupted("k", "one", due=False)


def test_the_second_attempt_counts_once_it_is_on_record() -> None:
    rows = (user_row("k", "x"), user_row("k.2", "x"))

    assert standing(history(*rows), tries("k")) == Interrupted("k.2", "k.2", due=False)
    assert standing(history(*rows, active=("k.2",)), tries("k")) == Running("k.2")
    assert standing(history(*rows, assistant_row("k.2", "done")), tries("k")) == Answered("k.2", "done")


# Every combination ------------------------------------------------------------------------------------------------

Rows = tuple[dict[str, Any], ...]

ENDS: dict[str, Callable[[str], tuple[Rows, Standing | None]]] = {
    "nothing": lambda run: ((), None),
    "begun": lambda run: ((user_row(run, "x"),), Interrupted(run, run, due=False)),
    "on the way": lambda run: (
        (user_row(run, "x"), assistant_row(run, "a step", stop="toolUse")),
        Interrupted(run, run, due=False),
    ),
    "answered": lambda run: ((user_row(run, "x"), assistant_row(run, "done")), Answered(run, "done")),
    "failed": lambda run: ((user_row(run, "x"), assistant_row(run, "no", stop="error")), Broken(run, "no")),
    "stopped": lambda run: ((user_row(run, "x"), assistant_row(run, "half", aborted=True)), Aborted(run)),
    "not begun, gateway stopped": lambda run: ((user_row(run, "x"), failed_row(run, DRAINING)), Aborted(run)),
    "continued": lambda run: (
        (user_row(run, "x"), user_row(f"r-{run}", "[System]", recovery=True)),
        Interrupted(run, f"r-{run}", due=False),
    ),
    "continued and answered": lambda run: (
        (user_row(run, "x"), user_row(f"r-{run}", "[System]", recovery=True), assistant_row(f"r-{run}", "done")),
        Answered(f"r-{run}", "done"),
    ),
    "continued and failed": lambda run: (
        (
            user_row(run, "x"),
            user_row(f"r-{run}", "[System]", recovery=True),
            assistant_row(f"r-{run}", "no", stop="error"),
        ),
        Broken(f"r-{run}", "no"),
    ),
    "continued and stopped": lambda run: (
        (
            user_row(run, "x"),
            user_row(f"r-{run}", "[System]", recovery=True),
            assistant_row(f"r-{run}", "", aborted=True),
        ),
        Aborted(run),
    ),
}
"""How one attempt can have left the rows, and where it then stands by itself."""

ORPHANED = ("accepted, never written", "accepted, told by a receipt", "cancelled before it was written")


def left(state: str, run: str) -> tuple[Rows, dict[str, Any], Standing | None]:
    """The rows of an attempt, what else the history says of it, and where it stands by itself."""
    if state not in ORPHANED:
        rows, where = ENDS[state](run)
        return rows, {}, where
    if state == "accepted, told by a receipt":
        return (), {"inputReceipts": [{"runId": run, "state": "pending"}]}, Aborted(run)
    word = "interrupted" if state == "accepted, never written" else "cancelled"
    return (), {"pendingInputs": {"items": [{"runId": run, "state": word}]}}, Aborted(run)


@pytest.mark.parametrize("second", [*ENDS, *ORPHANED])
@pytest.mark.parametrize("first", [*ENDS, *ORPHANED])
def test_two_attempts_in_every_combination(first: str, second: str) -> None:
    rows, more, where = left(first, "k")
    rows2, more2, where2 = left(second, "k.2")
    told = {name: _joined(more.get(name), more2.get(name)) for name in more.keys() | more2.keys()}

    stands = standing(read_history({"messages": [*rows, *rows2], **told}), tries("k"))
    busy = standing(read_history({"messages": [*rows, *rows2], **told, "inFlightRun": {"runId": "other"}}), tries("k"))

    answered = [one for one in (where2, where) if isinstance(one, Answered)]
    assert stands == (answered[0] if answered else where2 or where or Absent())
    assert busy == (stands if isinstance(stands, Answered | Broken) else Busy("other"))


def _joined(one: Any, other: Any) -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        return {"items": one["items"] + other["items"]}
    return one + other if one and other else one or other


@pytest.mark.parametrize("state", [*ENDS, *ORPHANED])
@pytest.mark.parametrize("going", ["k", "k.2"])
def test_an_attempt_that_goes_on_is_waited_for_whatever_the_other_left(state: str, going: str) -> None:
    rows, more, _ = left(state, "k.2" if going == "k" else "k")
    begun = (user_row(going, "x"),)
    ordered = begun + rows if going == "k" else rows + begun

    assert standing(read_history({"messages": ordered, **more, "inFlightRun": {"runId": going}}), tries("k")) == (
        Running(going)
    )


def test_a_receipt_of_what_is_going_on_is_no_orphan() -> None:
    going = {"inputReceipts": [{"runId": "k", "state": "pending"}], "sessionInfo": {"activeRunIds": ["k"]}}

    assert standing(read_history(going), tries("k")) == Running("k")


def test_a_receipt_of_what_was_consumed_is_no_orphan() -> None:
    consumed = {"inputReceipts": [{"runId": "k", "state": "consumed", "consumedByEventId": "e"}]}

    assert standing(read_history(consumed), tries("k")) == Absent()


def test_the_later_of_two_rows_of_the_same_attempt_counts() -> None:
    rows = (user_row("k", "x"), user_row("m", "y"), user_row("k", "x"), assistant_row("k", "done"))

    assert standing(history(*rows), tries("k")) == Answered("k", "done")


def test_an_answer_may_be_empty() -> None:
    assert standing(history(user_row("k", "x"), assistant_row("k", "")), tries("k")) == Answered("k", "")


def test_an_unreadable_row_spoils_nothing() -> None:
    rows = ({"role": 7}, user_row("k", "x"), {"nonsense": True}, assistant_row("k", "done"))

    assert standing(history(*rows), tries("k")) == Answered("k", "done")


@pytest.mark.parametrize("payload", [{}, {"messages": 3}, {"messages": [], "inFlightRun": 7, "sessionInfo": []}])
def test_an_unreadable_history_reads_as_an_empty_one(payload: dict[str, Any]) -> None:
    assert standing(read_history(payload), tries("k")) == Absent()


ROW = st.one_of(
    st.builds(user_row, st.sampled_from(["k", "k.2", "m"]), st.just("x")),
    st.builds(user_row, st.sampled_from(["r", "s"]), st.just("[System]"), recovery=st.just(True)),
    st.builds(
        assistant_row,
        st.sampled_from(["k", "k.2", "m", "r", "s"]),
        st.sampled_from(["", "text"]),
        stop=st.sampled_from(["stop", "toolUse", "error"]),
        aborted=st.booleans(),
    ),
)


@given(st.lists(ROW, max_size=10), st.lists(st.sampled_from(["k", "k.2", "r", "z"]), max_size=2))
def test_an_answer_always_comes_from_a_run_of_the_turn(rows: list[dict[str, Any]], active: list[str]) -> None:
    where = standing(history(*rows, active=tuple(active)), tries("k"))

    match where:
        case Answered(run_id) | Broken(run_id):
            assert run_id in {"k", "k.2", "r", "s"}
        case Running(run_id) | Busy(run_id):
            assert run_id in active
        case Interrupted(attempt) | Aborted(attempt):
            assert attempt in tries("k")
        case Absent():
            assert not any(row.get("idempotencyKey") in ("k:user", "k.2:user") for row in rows)


RUNS = [f"run{number}" for number in range(20_000)]
RECOVERIES = [{**user_row(run_id, "x", recovery=True), "__openclaw": {"runId": run_id}} for run_id in RUNS]


@pytest.mark.parametrize(
    "payload",
    [
        {"messages": [user_row("k", "hi"), *RECOVERIES]},
        {"messages": [user_row("k", "hi"), *RECOVERIES[:999]]},
        {"messages": [user_row("k", "hi"), *RECOVERIES[:1] * 999]},
        {"messages": [user_row("k", "hi")], "sessionInfo": {"activeRunIds": RUNS}},
        {"messages": [user_row("k", "hi")], "pendingInputs": {"items": [{"runId": run_id} for run_id in RUNS]}},
        {"inputReceipts": [{"runId": run_id, "state": "pending"} for run_id in RUNS]},
    ],
)
def test_what_a_sandbox_makes_up_is_looked_through_in_no_time(payload: dict[str, Any]) -> None:
    keys = [RUNS[-1], *(f"k{number}" for number in range(9))]
    began = time.thread_time()

    found = read_history(payload)
    standing(found, tries("k"))
    for key in keys:
        standing(found, tries(key))

    assert time.thread_time() - began < 0.1 * SCALE
