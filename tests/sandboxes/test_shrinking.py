"""The steps in which memory is taken away, for both kinds of cgroups."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawkakad.sandboxes.shrinking import (
    GROUND,
    MIB,
    SPARE_SWAP,
    STEP_V2,
    Cgroups,
    has_room,
    held,
    killed,
    moves,
    next_limit,
)

V1, V2 = Cgroups("1", swap=True), Cgroups("2", swap=True)


def steps(cgroups: Cgroups, used: int, limit: int) -> list[int]:
    """All of them, where each does what it should."""
    found = []
    while (step := next_limit(cgroups, used=used, limit=limit)) is not None:
        found.append(step)
        used, limit = min(used, step), step
    return found


def test_with_v1_a_few_great_steps_do() -> None:
    assert [step // MIB for step in steps(V1, 450 * MIB, 512 * MIB)] == [194, 80]


def test_with_v2_the_steps_are_small() -> None:
    found = steps(V2, 450 * MIB, 512 * MIB)

    assert found[0] == (450 - 32) * MIB
    assert len(found) == 12


@given(st.sampled_from([V1, V2]), st.integers(0, 2048 * MIB), st.integers(1, 2048))
def test_the_steps_go_down_to_the_ground_and_no_further(cgroups: Cgroups, used: int, limit_mb: int) -> None:
    found = steps(cgroups, used, limit_mb * MIB)

    assert found == sorted(set(found), reverse=True)
    assert all(GROUND <= step < limit_mb * MIB for step in found)
    assert found[-1:] == ([GROUND] if limit_mb * MIB > GROUND else [])


@given(st.integers(0, 2048 * MIB), st.integers(81, 2048))
def test_with_v2_no_step_moves_much_more_than_its_size(used: int, limit_mb: int) -> None:
    limit = limit_mb * MIB
    step = next_limit(V2, used=min(used, limit), limit=limit)

    assert step is not None
    assert min(used, limit) - step <= STEP_V2 + MIB


@pytest.mark.parametrize(
    ("cgroups", "swap_free", "room"),
    [
        (V1, 100 * MIB + SPARE_SWAP, True),
        (V1, 100 * MIB + SPARE_SWAP - 1, False),
        (V2, 400 * MIB + SPARE_SWAP, True),
        (V2, 400 * MIB + SPARE_SWAP - 1, False),
        (V2, 0, False),
        (Cgroups("1", swap=False), 9000 * MIB, False),
        (Cgroups("2", swap=False), 9000 * MIB, False),
    ],
)
def test_a_step_is_taken_only_where_swap_has_room_for_what_it_moves(
    cgroups: Cgroups, swap_free: int, room: bool
) -> None:
    assert has_room(cgroups, used=300 * MIB, limit=200 * MIB, swap_free=swap_free) is room


def test_a_step_is_checked() -> None:
    assert held(used=80 * MIB, limit=80 * MIB)
    assert not held(used=82 * MIB, limit=80 * MIB)


def test_with_v2_a_step_has_room_for_more_than_it_was_seen_to_move() -> None:
    """301 to 269 MiB put 109 MiB into swap, 137 to 105 MiB put 114."""
    assert moves(V2, used=137 * MIB, limit=105 * MIB) > 114 * MIB
    assert moves(V1, used=137 * MIB, limit=105 * MIB) == 32 * MIB
    assert moves(V2, used=80 * MIB, limit=105 * MIB) == 0


def test_with_v2_the_steps_of_others_count() -> None:
    assert not has_room(V2, used=80 * MIB, limit=80 * MIB, swap_free=SPARE_SWAP, others=1)
    assert has_room(V1, used=80 * MIB, limit=80 * MIB, swap_free=SPARE_SWAP, others=1)


def test_with_v2_a_failure_is_a_kill() -> None:
    assert killed(V2, failures=7999, before=0)
    assert not killed(V2, failures=12, before=12)
    assert not killed(V2, failures=0, before=12), "it has ended"
    assert not killed(V1, failures=13, before=12)
