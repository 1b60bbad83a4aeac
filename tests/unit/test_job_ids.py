"""The ids of jobs: UUIDs that no two jobs share, in the order of time."""

from __future__ import annotations

import time
import uuid

from hypothesis import given
from hypothesis import strategies as st

from flask_nightshift.domain.job import new_id, new_ids


@given(st.integers(0, 300))
def test_as_many_as_asked_for_each_a_uuid_of_version_7(count: int) -> None:
    ids = new_ids(count)
    assert len(set(ids)) == count
    for each in ids:
        parsed = uuid.UUID(each)
        assert str(parsed) == each
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)


def test_an_id_tells_when_it_was_made() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(new_id()).int >> 80
    assert before <= made <= time.time_ns() // 1_000_000


def test_a_later_id_is_larger() -> None:
    first, made = new_id(), time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 == made:
        pass
    assert new_id() > first


def test_every_random_bit_is_random() -> None:
    free = (1 << 74) - 1
    zeros = ones = 0
    for each in new_ids(400):
        number = uuid.UUID(each).int
        bits = (number >> 64 & 0xFFF) << 62 | number & ((1 << 62) - 1)
        ones, zeros = ones | bits, zeros | ~bits & free
    assert ones == zeros == free
