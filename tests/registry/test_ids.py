"""Ids: what they look like, and that keys sort by when they were made."""

import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from clawkakad.model import Wamid
from clawkakad.registry import ids


def test_a_key_is_a_uuid_of_version_7() -> None:
    before_ms = time.time_ns() // 1_000_000
    keys = [uuid.UUID(ids.new_key()) for _ in range(200)]

    assert {(key.version, key.variant) for key in keys} == {(7, uuid.RFC_4122)}
    assert all(before_ms <= key.int >> 80 <= time.time_ns() // 1_000_000 for key in keys)
    assert len({str(key) for key in keys}) == 200


def test_keys_sort_by_when_they_were_made() -> None:
    keys = []
    for _ in range(5):
        keys.append(ids.new_key())
        time.sleep(0.002)

    assert sorted(keys) == keys


def test_a_message_has_the_same_key_whenever_it_comes_and_no_other_message_has_it() -> None:
    at = datetime(2026, 11, 30, 12, tzinfo=UTC)
    keys = [ids.key_of(Wamid(f"wamid.{number}"), at + timedelta(seconds=number)) for number in range(200)]

    assert keys == [ids.key_of(Wamid(f"wamid.{number}"), at + timedelta(seconds=number)) for number in range(200)]
    assert len(set(keys)) == 200
    assert sorted(keys) == keys
    assert {(uuid.UUID(key).version, uuid.UUID(key).variant) for key in keys} == {(7, uuid.RFC_4122)}


@pytest.mark.parametrize("at", [datetime.min, datetime(1969, 7, 20), datetime.max])
def test_a_message_of_any_time_has_a_key(at: datetime) -> None:
    assert uuid.UUID(ids.key_of(Wamid("wamid.1"), at.replace(tzinfo=UTC))).version == 7
