"""Waiting ever longer."""

from itertools import islice

import pytest

from clawkakad.sandboxes.backoff import delays


def test_waits_double_up_to_the_cap() -> None:
    assert [1, 2, 4, 8, 10, 10] == list(islice(delays(1, 10, dice=lambda: 1.0), 6))


def test_the_dice_take_a_fifth_at_most() -> None:
    assert pytest.approx([0.8, 1.6, 3.2]) == list(islice(delays(1, 10, dice=lambda: 0.0), 3))
