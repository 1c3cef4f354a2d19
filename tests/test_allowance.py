"""The tenth of the daemon's time that one sandbox may take up."""

from clawkakad.allowance import REST, Allowance

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
