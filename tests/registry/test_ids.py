"""Ids: what they look like, and that keys sort by when they were made."""

import time
import uuid

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
