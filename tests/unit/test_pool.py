"""The pipes of child processes. Reports arrive in pieces of any size; each is delivered as soon as it is complete."""

from __future__ import annotations

import os
import pickle
import select
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from billiard.pool import RUN, TASK, ApplyResult
from hypothesis import given
from hypothesis import strategies as st

from flask_nightshift.worker.pools.prefork import JobProcesses, Reports, payload, whole


def written(report: object) -> bytes:
    """As billiard writes it."""
    body = pickle.dumps(report)
    return struct.pack(">i", len(body)) + body


reports = st.lists(st.tuples(st.integers(), st.text(max_size=50)), max_size=8)


@given(reports, st.lists(st.integers(1, 40), min_size=1))
def test_reports_in_any_pieces_are_reassembled(sent: list[tuple[int, str]], sizes: list[int]) -> None:
    stream, data, piece = b"".join(map(written, sent)), bytearray(), 0
    got: list[Any] = []
    while stream:
        size = sizes[piece % len(sizes)]
        data += stream[:size]
        stream, piece = stream[size:], piece + 1
        got += whole(data)
    assert got == sent
    assert not data


class Pipe:
    """A child's pipe, and the part of the pool that reads it."""

    def __init__(self) -> None:
        self.out, self.into = os.pipe()
        os.set_blocking(self.out, False)
        self.told: list[object] = []
        self.watched: list[int] = []
        self.reports = object.__new__(Reports)  # its constructor wants a whole pool

    def reading(self) -> Iterator[None]:
        return self.reports._recv_message(lambda fd, *_: self.watched.append(fd), self.out, self.told.append)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    for fd in (pipe.out, pipe.into):
        os.close(fd)


def test_all_that_is_there_is_read_at_once(pipe: Pipe) -> None:
    os.write(pipe.into, written("began") + written("ended"))
    assert list(pipe.reading()) == []
    assert pipe.told == ["began", "ended"]
    assert not pipe.watched, "it never stopped to be watched"


def test_a_complete_report_is_delivered_before_the_next_arrives(pipe: Pipe) -> None:
    """The child may die before it writes the rest; by then the start of the job must be known."""
    os.write(pipe.into, written("began") + written("ended")[:-1])
    reading = pipe.reading()
    next(reading)
    assert pipe.told == ["began"]
    os.write(pipe.into, written("ended")[-1:])
    assert list(reading) == []
    assert pipe.told == ["began", "ended"]
    assert pipe.watched == [pipe.out]


def test_a_report_larger_than_the_pipe(pipe: Pipe) -> None:
    report = "x" * 300_000
    rest = written(report)
    reading = pipe.reading()
    os.set_blocking(pipe.into, False)
    while rest:
        rest = rest[os.write(pipe.into, rest) :]
        next(reading, None)
    assert pipe.told == [report]


@pytest.mark.parametrize("characters", [1, 3_000, 4_090, 10_000, 100_000])
def test_a_job_is_written_as_billiard_reads_it(characters: int) -> None:
    job = ("task", "x" * characters)
    first, rest, size = payload(job)
    assert len(rest) == size
    whole_job = bytes(first) + bytes(rest)
    assert whole_job[:4] == struct.pack(">I", len(whole_job) - 4)
    assert pickle.loads(whole_job[4:]) == job


def test_a_pipe_takes_the_first_piece_whole_or_not_at_all() -> None:
    """Celery considers a first piece written as soon as four bytes of it are."""
    assert len(payload("x" * 3_000)[0]) > 3_000
    assert all(len(payload("x" * characters)[0]) <= select.PIPE_BUF for characters in range(3_900, 4_200))


def test_a_handed_job_has_the_interface_that_billiard_expects() -> None:
    """We create it without billiard's ``__init__``, so this test finds a new attribute there."""
    written: list[Any] = []
    pool = JobProcesses.__new__(JobProcesses)
    settings = {"_state": RUN, "_cache": {}, "soft_timeout": None, "timeout": 5, "lost_worker_timeout": 3}
    pool.__dict__.update(settings, on_timeout_set=print, on_timeout_cancel=None, _quick_put=written.append)
    handed = pool.apply_async(max, (1, 2), callback=print, correlation_id="id", waitforslot=False)
    theirs = ApplyResult(
        {}, print, timeout=5, lost_worker_timeout=3, on_timeout_set=print, correlation_id="id"
    )
    assert handed is not None
    different = {"_job", "_event", "_mutex", "_cache"}
    for name, value in vars(theirs).items():
        assert hasattr(handed, name), name
        assert name in different or getattr(handed, name) == value, name
    assert pool._cache == {handed._job: handed}
    assert written == [(TASK, (handed._job, None, max, (1, 2), {}))]
    assert not handed.ready()
    handed._ack(None, 1.0, 17, None)
    handed._set(None, (True, 2))
    assert handed.ready()
    assert not pool._cache
