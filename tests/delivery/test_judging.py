"""Each outcome has one fate; what is remembered between sends is forgotten when one is accepted."""

from datetime import UTC, datetime

import pytest

from clawkakad.delivery.circuit import Circuit, State
from clawkakad.delivery.judging import MOST_FOREIGN, Accepted, Fate, Judge, Kind, NotReached, Refused, Unknown
from clawkakad.delivery.pacing import EVERY_S, Brake, Pacer
from clawkakad.model import OutboxState, UserId, Wamid
from clawkakad.registry.outbox import OutboxRow
from clawkakad.whatsapp.errors import TABLE, Reaction, Width

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
TAKEN = Accepted(Wamid("wamid.1"))


def row(number: int = 1, user: str = "u1") -> OutboxRow:
    return OutboxRow(
        id=number,
        key=f"k{number}",
        source=f"s{number}",
        origin="reply",
        user_id=UserId(user),
        text="hi",
        state=OutboxState.SENDING,
        hold=None,
        attempt=1,
        unknowns=0,
        wamid=None,
        not_before=NOW,
        created_at=NOW,
        sent_at=None,
        changed_at=NOW,
        reason="",
    )


class Court:
    """A judge, and what it learns."""

    def __init__(self) -> None:
        self.circuit = Circuit(lambda: 1.0)
        self.brake = Brake(lambda: 0.0)
        self.pacer = Pacer(80, 0)
        self.judge = Judge(self.circuit, self.brake, self.pacer, lambda: 1.0)

    def refuse(self, code: int, now: float = 0.0, **more: float) -> Fate:
        return self.judge.fate(row(), Refused(code, "no", **more), now)


FATES = {
    Reaction.RETRY: Kind.BACK,
    Reaction.PAIR_LIMIT: Kind.BACK,
    Reaction.TEMPLATE: Kind.HELD,
    Reaction.NEVER: Kind.FAILED,
}


@pytest.mark.parametrize("code", sorted(set(TABLE) - {131026}))
def test_every_code_has_a_fate(code: int) -> None:
    rule, court = TABLE[code], Court()
    fate = court.refuse(code)

    if rule.reaction is Reaction.STOP:
        assert fate.kind is (Kind.STOPPED if rule.width is Width.ALL else Kind.FAILED)
    elif rule.reaction is not Reaction.UNKNOWN:  # those never come as a refusal
        assert fate.kind is FATES[rule.reaction]
    assert (court.brake.wait_s(0) > 0) is (rule.reaction is Reaction.RETRY)
    assert court.circuit.state is State.CLOSED


def test_a_code_that_nobody_knows_is_a_refusal_for_good() -> None:
    assert Court().refuse(424242).kind is Kind.FAILED


def test_whoever_cannot_be_reached_is_marked() -> None:
    assert Court().refuse(131026).kind is Kind.UNREACHABLE


def test_the_pair_limit_waits_4_to_the_n_seconds_and_an_accepted_send_begins_anew() -> None:
    court = Court()

    assert [court.refuse(131056).wait_s for _ in range(8)] == [1, 4, 16, 64, 256, 1024, 3600, 3600]
    assert court.brake.wait_s(0) == 0
    court.judge.fate(row(), TAKEN, 0)
    assert court.refuse(131056).wait_s == 1
    assert court.refuse(131056, asked_s=90.0).wait_s == 90


def test_after_the_pair_limit_this_person_gets_one_each_six_seconds() -> None:
    court = Court()
    court.refuse(131056)
    court.pacer.take(UserId("u1"), 0)

    assert court.pacer.wait_s(UserId("u1"), 0) == EVERY_S
    assert court.pacer.wait_s(UserId("u2"), 0) == 0


def test_a_limit_of_the_number_slows_all_down_at_least_for_as_long_as_asked() -> None:
    court = Court()

    assert court.refuse(130429, asked_s=17.0).wait_s == 17
    assert court.brake.wait_s(0) == 17
    assert court.refuse(130429, now=17).wait_s == 4
    assert court.refuse(4, now=100).wait_s > 60


def test_what_was_not_reached_is_tried_again_ever_more_slowly() -> None:
    court = Court()
    waits = [court.judge.fate(row(), NotReached("refused"), 0).wait_s for _ in range(8)]

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_something_that_is_not_the_graph_api_cannot_block_one_person_for_ever() -> None:
    court = Court()
    kinds = [court.judge.fate(row(), NotReached("HTTP 403", is_foreign=True), 0).kind for _ in range(MOST_FOREIGN)]

    assert kinds == [Kind.BACK] * (MOST_FOREIGN - 1) + [Kind.FAILED]


def test_one_kind_of_trouble_is_not_counted_as_another() -> None:
    court = Court()
    for _ in range(MOST_FOREIGN):
        court.judge.fate(row(), NotReached("no address"), 0)
    foreign = court.judge.fate(row(), NotReached("HTTP 302", is_foreign=True), 0)

    assert (foreign.kind, foreign.wait_s) == (Kind.BACK, 1)
    assert [court.refuse(131056).wait_s for _ in range(2)] == [1, 4]


@pytest.mark.parametrize("outcome", [Unknown("reset"), NotReached("no address")])
def test_what_gets_no_usable_answer_counts_for_the_circuit(outcome: Unknown | NotReached) -> None:
    court = Court()
    for number in range(3):
        court.judge.fate(row(number), outcome, 0)

    assert court.circuit.state is State.OPEN
