"""The tenth of the daemon's time that one sandbox may take up."""

from clawkakad.allowance import CHANGE_S, REST, Allowance

HOUR = 3600.0  # of work, so that the test's own time does not count


def test_after_work_there_is_nine_times_as_long_a_rest() -> None:
    allowance = Allowance()
    assert 0.0 == allowance.rest_s()

    assert REST * HOUR < allowance.spend(HOUR) <= (1 + REST) * HOUR
    assert REST * HOUR < allowance.rest_s()
    assert 2 * REST * HOUR < allowance.spend(HOUR)


def test_what_was_not_used_is_kept_and_no_more_than_that() -> None:
    allowance = Allowance(at_once_s=2 * HOUR)

    assert 0.0 == allowance.spend(2 * HOUR)
    assert REST * HOUR < allowance.spend(HOUR) <= (1 + REST) * HOUR


def test_small_work_is_paid_for_when_enough_of_it_has_come_together() -> None:
    allowance = Allowance()

    assert [allowance.spend_change(CHANGE_S / 4) for _ in range(3)] == [0.0] * 3
    assert 0.0 == allowance.rest_s()
    assert 0.0 < allowance.spend_change(CHANGE_S / 4) <= (1 + REST) * CHANGE_S
