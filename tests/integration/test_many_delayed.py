"""With 100,000 delayed jobs, what is done about some of them costs few commands and little of the network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from bulks import drive, runner
from flask_nightshift.domain.job import utcnow
from flask_nightshift.observe.jobs import Filters as JobFilters
from flask_nightshift.operations import bulk, cancelling, delayed
from flask_nightshift.operations.delayed import Known
from opsapp import Ops, opened
from servers import Valkey

OTHERS = 100_000
STEP = 500
FILL = """
for i = tonumber(ARGV[3]), tonumber(ARGV[3]) + 4999 do
  redis.call('ZADD', KEYS[1], tonumber(ARGV[1]) + i / 100, '0|' .. string.gsub(ARGV[2], '@', 'other-' .. i))
end
"""


@pytest.fixture
def ops(valkey: Valkey, tmp_path: Path) -> Iterator[Ops]:
    with opened(tmp_path, valkey.fresh_url()) as made:
        yield made


def fill(ops: Ops) -> None:
    """Delayed jobs of which the history does not know, due within 1,000 s before and after an hour from now."""
    headers = {"id": "@", "task": "mail.send", "retries": 0}
    raw = {"body": "W10=", "headers": headers, "properties": {"body_encoding": "base64", "delivery_info": {}}}
    begin = (utcnow() + timedelta(minutes=45)).timestamp()
    with Redis.from_url(ops.services.settings.broker_url) as client:
        for first in range(0, OTHERS, 5_000):
            client.eval(FILL, 1, "nightshift:delayed:mail", begin, json.dumps(raw), first)
        assert client.zcard("nightshift:delayed:mail") == OTHERS


@contextmanager
def cost(ops: Ops) -> Iterator[dict[str, int]]:
    """The commands that clients send meanwhile, and the bytes that they get."""
    found: dict[str, int] = {}
    with Redis.from_url(ops.services.settings.broker_url) as client:

        def seen() -> tuple[int, int]:
            commands: dict[str, Any] = client.info("commandstats")
            sent = sum(
                commands.get(f"cmdstat_{name}", {}).get("calls", 0)
                for name in ("eval", "evalsha", "zscan", "zrange", "zrangebyscore", "zscore")
            )
            stats: dict[str, Any] = client.info("stats")
            return sent, stats["total_net_output_bytes"]

        before = seen()
        yield found
        after = seen()
        found.update(commands=after[0] - before[0], received=after[1] - before[1])


def test_running_and_cancelling_some_of_many_delayed_jobs(ops: Ops) -> None:
    fill(ops)
    due = utcnow() + timedelta(hours=1)
    known = []
    for number in range(100):
        at = due + timedelta(seconds=number * 5)
        ops.services.broker.publish(ops.message(f"job-{number:03d}"), "mail", due=at)
        known.append(Known(f"job-{number:03d}", "mail", at))
    ids = [each.job_id for each in known]

    with cost(ops) as used:
        moved = delayed.run_now(ops.services, None, ids[:50], known)
    assert moved == dict.fromkeys(ids[:50], "mail")
    assert used["commands"] < 200, used  # commands of scripts count: a range and the moves of each job
    assert used["received"] < 300_000, used

    with cost(ops) as used:  # nobody knows when they are due: one walk for all of them
        moved = delayed.run_now(ops.services, None, ids[50:70])
    assert moved == dict.fromkeys(ids[50:70], "mail")
    assert OTHERS / STEP < used["commands"] < 3 * OTHERS / STEP, used
    assert used["received"] < 300_000, used

    with cost(ops) as used:
        done = cancelling.cancel_some(ops.services, ids[70:], known, by="ann")
    assert (done.removed, done.told, done.left) == (30, 0, 0)
    assert used["commands"] < 300, used

    with cost(ops) as used:  # each has moved on: looked for once more, together
        assert delayed.run_now(ops.services, None, ids[:50], known) == {}
    assert used["commands"] < 3 * OTHERS / STEP, used


def test_a_bulk_action_runs_some_of_many_delayed_jobs(ops: Ops) -> None:
    fill(ops)
    for number in range(200):
        ops.send.apply_async((number,), countdown=3600 + number * 3)
    ops.flush()
    planned = bulk.plan(ops.services, "run", JobFilters())
    assert planned.total == 200
    with cost(ops) as used:
        action = bulk.start(ops.services, planned, by="ann", rate=10_000)
        drive(runner(ops.services))
    done = bulk.find(ops.services, action.id)
    assert (done.state, done.acted, done.skipped) == ("done", 200, 0)
    assert used["commands"] < 1_500, used
    (depth,) = ops.services.broker.depths(["mail"])
    assert (depth.ready, depth.delayed) == (200, OTHERS)
