"""The circuit: an outage leaves a few unknown outcomes behind; one message's own trouble stops nobody else."""

from clawkakad.delivery.circuit import FIRST_WIDTH, IN_A_ROW, MOST_WIDTH, SILENT_S, TRIES_IN_A_ROW, Circuit, State


def opened(now: float = 0.0) -> Circuit:
    circuit = Circuit(lambda: 1.0)
    for row in range(IN_A_ROW):
        circuit.failed(row, now)
    assert circuit.state is State.OPEN
    return circuit


def test_three_different_messages_in_a_row_open_it() -> None:
    circuit = Circuit()

    assert not circuit.failed(1, 0)
    assert not circuit.failed(2, 0)
    assert circuit.failed(3, 0)
    assert circuit.state is State.OPEN


def test_one_message_alone_needs_five_tries_for_that() -> None:
    circuit = Circuit()

    assert [circuit.failed(1, 0) for _ in range(TRIES_IN_A_ROW)] == [False] * (TRIES_IN_A_ROW - 1) + [True]
    assert circuit.state is State.OPEN


def test_a_few_tries_before_an_answer_do_not_count_after_it() -> None:
    circuit = Circuit()
    for _ in range(20):
        circuit.failed(1, 0)
        circuit.failed(1, 0)
        circuit.answered(0)

    assert circuit.state is State.CLOSED


def test_an_answer_between_begins_the_count_again() -> None:
    circuit = Circuit()
    for row in range(20):
        circuit.failed(row, 0)
        if row % 2:
            circuit.answered(0)

    assert circuit.state is State.CLOSED


def test_probes_come_ever_more_slowly_and_one_that_is_answered_allows_a_single_message() -> None:
    circuit, now, waits = opened(), 0.0, []
    for _ in range(8):
        wait = circuit.probe_in_s(now)
        assert wait is not None
        waits.append(wait)
        now += wait
        circuit.probed(False, now)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]

    circuit.probed(True, now)
    assert circuit.state is State.TRIAL
    assert circuit.probe_in_s(now) is None
    assert circuit.answered(now)
    assert circuit.state is State.CLOSED


def test_a_trial_that_fails_opens_it_for_longer() -> None:
    circuit = opened()
    circuit.probed(True, 1)
    assert circuit.failed(9, 1)

    assert circuit.state is State.OPEN
    assert circuit.probe_in_s(1) == 2


def test_what_was_in_flight_when_it_opened_changes_nothing() -> None:
    circuit = opened()
    for row in range(100, 130):
        assert not circuit.failed(row, 0.5)

    assert circuit.probe_in_s(0) == 1


def test_without_any_answer_for_a_while_nobody_else_is_sent_to() -> None:
    circuit = Circuit()

    assert not circuit.is_silent([0.0, 0.0], 100)
    assert not circuit.is_silent([0.0, 1.0, 2.0], SILENT_S)
    assert circuit.is_silent([0.0, 1.0, 2.0], SILENT_S + 0.1)
    circuit.answered(3)
    assert not circuit.is_silent([0.0, 1.0, 2.0], SILENT_S + 0.1)


def test_more_go_out_at_once_with_each_answer_and_fewer_after_a_failure() -> None:
    circuit = Circuit()
    assert circuit.width == FIRST_WIDTH
    for _ in range(MOST_WIDTH):
        circuit.answered(0)
    assert circuit.width == MOST_WIDTH
    circuit.failed(1, 0)
    assert circuit.width == MOST_WIDTH // 2

    assert opened().width == 0
    trial = opened()
    trial.probed(True, 1)
    assert trial.width == 1
    trial.answered(1)
    assert FIRST_WIDTH < trial.width <= FIRST_WIDTH + 1
