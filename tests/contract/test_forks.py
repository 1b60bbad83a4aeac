"""A process publishes, then forks (gunicorn ``--preload``): its children publish over connections of their own."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable

import pytest
from celery import group
from flask import Flask

from broker_harness import Harness
from resultsapp import add

CHILDREN = 4
EACH = 25


def forked(work: Callable[[int], object]) -> list[int]:
    """``work(number)`` in some children at once; their exit codes."""
    pids = []
    for number in range(CHILDREN):
        pid = os.fork()
        if not pid:
            try:
                work(number)
                os._exit(0)
            except BaseException as exc:  # noqa: BLE001 - the child must not go on with the tests
                os.write(2, repr(exc).encode())
                os._exit(1)
        pids.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def test_groups_of_children_arrive_once_each(harness: Harness, app: Flask) -> None:
    if not harness.can.shared:
        pytest.skip(f"no child reaches {harness.name}")
    group(add.s(-1, 0), add.s(-2, 0)).apply_async()

    def publish(number: int) -> None:
        for n in range(EACH):
            group(add.s(number, 2 * n), add.s(number, 2 * n + 1)).apply_async()

    assert forked(publish) == [0] * CHILDREN
    group(add.s(-3, 0), add.s(-4, 0)).apply_async()  # the parent's connection is what it was

    expected = {(number, n) for number in range(CHILDREN) for n in range(2 * EACH)}
    expected |= {(-1, 0), (-2, 0), (-3, 0), (-4, 0)}
    arrived: Counter[tuple[int, int]] = Counter()
    with harness.consumer(prefetch=100) as receive:
        while message := receive(5 if len(arrived) < len(expected) else 0.5):
            arrived[tuple(message.payload[0])] += 1
            message.ack()
    assert set(arrived) == expected
    assert set(arrived.values()) == {1}
