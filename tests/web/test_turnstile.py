"""Counting connections: room for everybody, not for one alone."""

import pytest

from clawkakad.web.turnstile import Turnstile


def test_one_address_gets_its_share_and_no_more() -> None:
    turnstile = Turnstile(total=10, per_address=2)

    assert [turnstile.enter("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert turnstile.enter("192.0.2.2")


def test_leaving_makes_room() -> None:
    turnstile = Turnstile(total=10, per_address=1)
    turnstile.enter("192.0.2.1")
    turnstile.leave("192.0.2.1")

    assert turnstile.enter("192.0.2.1")


def test_all_together_are_limited_too() -> None:
    turnstile = Turnstile(total=3, per_address=2)

    assert [turnstile.enter(f"192.0.2.{n}") for n in range(5)] == [True, True, True, False, False]


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_a_proxy_on_this_machine_is_limited_by_the_total_only(address: str) -> None:
    turnstile = Turnstile(total=5, per_address=2)

    assert [turnstile.enter(address) for _ in range(6)] == [True] * 5 + [False]


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::9", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("unknown", "unknown", True),
    ],
)
def test_what_counts_as_one_address(one: str, other: str, together: bool) -> None:
    turnstile = Turnstile(total=10, per_address=1)
    turnstile.enter(one)

    assert turnstile.enter(other) is not together
