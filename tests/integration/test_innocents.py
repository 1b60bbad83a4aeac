"""Of all jobs, only the one that kills its whole worker every time becomes a dead letter.

``INNOCENTS=all`` runs every pool with every prefetch on both brokers; by default each of them occurs once.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from places import APPS
from system import System, running

LIMIT = 3
"""Deliveries; fewer than the default, because finding a dead worker on Redis takes seconds."""
POOLS = {"prefork": 1000, "threads": 200, "gevent": 200, "solo": 200}
"""Innocent jobs for each pool."""
SOME = [("redis_server", "prefork", 64), ("valkey", "threads", 4), ("rabbitmq", "prefork", 4)]
ALL = list(itertools.product(["redis_server", "rabbitmq"], POOLS, [1, 4, 64]))


@pytest.mark.parametrize(
    ("broker", "pool", "prefetch"), ALL if os.environ.get("INNOCENTS") == "all" else SOME
)
def test_only_the_job_that_kills_its_worker_dies(
    request: pytest.FixtureRequest, tmp_path: Path, broker: str, pool: str, prefetch: int
) -> None:
    url = request.getfixturevalue(broker).fresh_url()
    count = POOLS[pool]
    with _killing(tmp_path, url, prefetch) as system:
        _fill(system, count, killer_at=count // 30)
        concurrency = "1" if pool == "solo" else "2"
        workers = _run_to_the_end(
            system,
            lambda: _done(system) == count and system.dead(),
            "--pool",
            pool,
            "--concurrency",
            concurrency,
        )
        (letter,) = system.dead()
        assert (letter["task"], letter["reason"]) == ("test.killer", "delivery_limit")
        assert len(system.events("killer")) == LIMIT == workers - 1, "as often as the limit allows, no more"


def _killing(folder: Path, url: str, prefetch: int) -> Any:
    return running(
        folder, url, FLASK_APP="killerapp", PREFETCH=str(prefetch), NIGHTSHIFT_DELIVERY_LIMIT=str(LIMIT)
    )


def _fill(system: System, count: int, killer_at: int) -> None:
    subprocess.run(
        [sys.executable, str(APPS / "killerapp.py"), str(count), str(killer_at)],
        env=system.env,
        cwd=APPS,
        check=True,
    )


def _done(system: System) -> int:
    """The number of innocent jobs that succeeded."""
    return len({line for line in system.ledger.read_text().splitlines() if line.endswith(" done")})


def _run_to_the_end(system: System, over: Callable[[], Any], *options: str) -> int:
    """Start a worker, and another after each kill, until ``over()``; returns the number of workers."""
    for number in itertools.count(1):
        worker = system.worker(*options, name=f"worker{number}", wait=False)
        system.until(lambda worker=worker: worker.popen.poll() is not None or over(), 90, "it is stuck")
        if worker.popen.poll() is None:
            worker.stop()
            return number
        assert number < 20, "it goes on killing"
    raise AssertionError
