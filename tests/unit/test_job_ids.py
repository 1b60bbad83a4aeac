"""Job ids are unique UUIDs that sort by time."""

from __future__ import annotations

import ctypes
import os
import time
import uuid
from collections.abc import Callable

import pytest

from flask_nightshift.enqueue.ids import new_id, new_ids


@pytest.mark.parametrize("count", [0, 1, 2, 3000])
def test_as_many_as_asked_for_each_a_uuid_of_version_7(count: int) -> None:
    ids = new_ids(count)
    assert len(set(ids)) == count
    for each in ids:
        parsed = uuid.UUID(each)
        assert str(parsed) == each
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)


def test_an_id_contains_its_time() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(new_id()).int >> 80
    assert before <= made <= time.time_ns() // 1_000_000


def test_each_id_is_larger_than_the_one_before() -> None:
    made = [new_id(), *new_ids(3000), new_id(), new_id()]
    assert made == sorted(made)


def _fork_unseen_by_python() -> int:
    return int(ctypes.PyDLL(None).fork())


@pytest.mark.parametrize("fork", [os.fork, _fork_unseen_by_python], ids=["os.fork", "as uWSGI forks"])
def test_processes_forked_from_one_make_different_ids(fork: Callable[[], int]) -> None:
    new_id()
    at = time.time_ns() + 200_000_000
    tails = [_tail_in_a_child(fork, at) for _ in range(3)]
    random = [os.read(tail, 100) for tail in tails]
    for tail in tails:
        os.close(tail)
    assert len(set(random)) == len(random)
    assert b"" not in random


def _tail_in_a_child(fork: Callable[[], int], at: int) -> int:
    """Where to read the random digits of an id that a child makes at the moment ``at`` (nanoseconds)."""
    tail, write = os.pipe()
    if not fork():
        try:
            while time.time_ns() < at:  # all at the same moment
                pass
            os.write(write, new_id()[-12:].encode())
        finally:
            os._exit(0)
    os.close(write)
    return tail
