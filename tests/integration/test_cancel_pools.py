"""Cancelled jobs in the hands of a worker, in each pool; on ``memory://``; and with the broker away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

import cancelapp
from cancel_place import PAIRS, Place, Places
from flask_nightshift.domain.pools import POOLS
from flask_nightshift.errors import BrokerUnavailable


@pytest.fixture(params=PAIRS, scope="module")
def places(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    with closing(Places(request, tmp_path_factory)) as made:
        yield made


@pytest.fixture
def place(places: Places, request: pytest.FixtureRequest) -> Place:
    return places.of(request.node)


@pytest.mark.parametrize(
    "pool",
    ["threads", "solo", *(pytest.param(each, marks=pytest.mark.thorough) for each in ("prefork", "gevent"))],
)
def test_a_worker_drops_the_jobs_in_its_hands_and_stops_the_running_one(place: Place, pool: str) -> None:
    def enqueue(task: Any, name: str) -> Any:
        return task.apply_async((f"{pool}-{name}",), queue=pool)

    first, holder = enqueue(cancelapp.limited, "first"), enqueue(cancelapp.loop, "holder")
    waiting = {name: enqueue(cancelapp.work, name) for name in ("dropped", "killed", "kept", "late")}
    waiting |= {name: enqueue(cancelapp.limited, name) for name in ("limited", "limited-too")}
    place.known(*waiting.values())
    options = ("--pool", pool, "--concurrency", "1", "--queues", pool)
    taking = '{"worker_prefetch_multiplier": 10}'
    worker = place.system.worker(*options, name=pool, NIGHTSHIFT_CELERY=taking)
    place.begins(f"{pool}-holder")
    place.until_taken(pool)

    cancelled = {name: waiting[name] for name in waiting if name not in ("kept", "late")}
    for name, job in cancelled.items():
        place.cancel(job.id, kill=name == "killed")
        if not POOLS[pool].blocks_loop:
            place.until_state(job.id, "cancelled", 10)
    assert place.system.events(f"{pool}-holder") == ["begun"]
    place.cancel(holder.id)
    place.system.until(lambda: place.system.events(f"{pool}-holder")[-1] == "stopped", 10, "it goes on")
    for job in (holder, *cancelled.values()):
        place.until_state(job.id, "cancelled", 10)
    for job in (first, waiting["kept"], waiting["late"]):
        place.until_state(job.id, "succeeded", 10)
    for name in cancelled:
        assert place.system.events(f"{pool}-{name}") == []
    place.system.until(lambda: place.services.orders.count_tombstones() == 0, 10, "a tombstone stays")
    assert worker.stop() == 0


def test_with_the_broker_away_a_running_job_stops_or_the_command_says_that_it_goes_on(
    place: Place, request: pytest.FixtureRequest
) -> None:
    """On RabbitMQ the database has the order."""
    server = request.getfixturevalue("valkey" if place.removes else "rabbitmq")
    place.worker()
    holder = cancelapp.loop.delay("broker-away")
    place.begins("broker-away")
    place.known_to_run(holder)
    if place.removes:
        server.stop()
    else:
        server.freeze()  # to start it takes long
    if place.removes:
        with pytest.raises(BrokerUnavailable) as told:
            place.cancel(holder.id)
        assert "Run the command again" in "".join(told.value.__notes__)
        assert place.system.events("broker-away") == ["begun"]
    else:
        assert not place.cancel(holder.id).removed
        place.system.until(lambda: place.system.events("broker-away")[-1] == "stopped", 10, "it goes on")
    server.ensure()
    if place.removes:
        assert not place.cancel(holder.id).removed
    place.until_state(holder.id, "cancelled")
    assert place.system.events("broker-away").count("stopped") == 1
    place.system.until(lambda: place.services.orders.count_tombstones() == 0, 20, "a tombstone stays")
