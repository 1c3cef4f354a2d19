"""Listening: what is known about the webhooks that wait."""

from clawkakad.intake.intake import LEISURE_S
from clawkakad.intake.listening import A_MOMENT_S, Listening


class Ticking:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_nothing_has_come_yet_and_so_nothing_is_missing() -> None:
    assert Listening().caught_up


def test_it_has_caught_up_when_no_delivery_waits_and_the_last_was_stored() -> None:
    clock = Ticking()
    listening = Listening(clock)
    first, second = listening.begun(), listening.begun()
    clock.now += 2 * A_MOMENT_S
    assert not listening.caught_up

    listening.stored(second)
    assert not listening.caught_up
    listening.failed(first)
    assert not listening.caught_up

    listening.stored(listening.begun())
    assert listening.caught_up


def test_statuses_without_end_that_wait_for_company_are_no_reason_to_doubt() -> None:
    clock = Ticking()
    listening = Listening(clock)
    tickets = [listening.begun()]
    for _ in range(1000):
        clock.now += LEISURE_S / 2
        tickets.append(listening.begun())
        assert listening.caught_up
        if len(tickets) > 2:
            listening.stored(tickets.pop(0))


def test_what_was_turned_away_is_missing_until_something_is_stored_again() -> None:
    listening = Listening()
    listening.turned_away()
    assert not listening.caught_up

    listening.stored(listening.begun())
    assert listening.caught_up


def test_the_age_is_the_oldest_ones_also_when_later_ones_are_stored_first() -> None:
    clock = Ticking()
    listening = Listening(clock)
    first = listening.begun()
    clock.now += 2
    second = listening.begun()
    clock.now += 1

    assert (listening.waiting, listening.oldest_s) == (2, 3.0)
    listening.stored(first)
    assert (listening.waiting, listening.oldest_s) == (1, 1.0)
    listening.stored(second)
    assert (listening.waiting, listening.oldest_s) == (0, 0.0)
