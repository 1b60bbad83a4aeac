"""``await result.aget()``: coroutines read results from Redis, its cluster, Sentinel and RabbitMQ."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group
from celery.exceptions import TimeoutError as NotThereYet
from celery.result import AsyncResult
from flask import Flask

import awaitapp
from awaitapp import add, fails, sleep, total, until, waits
from flask_nightshift import Nightshift
from flask_nightshift.errors import BrokerUnavailable, Unsupported
from flask_nightshift.services import current
from redis_cluster import RedisCluster
from redis_servers import Group
from servers import wait_for
from system import running

PLACES = [
    "valkey",
    pytest.param("redis_cluster", marks=[pytest.mark.redis, pytest.mark.thorough]),
    pytest.param("sentinel", marks=pytest.mark.thorough),
    pytest.param("rabbitmq", marks=pytest.mark.rabbitmq),
    pytest.param("rabbitmq-rpc", marks=pytest.mark.rabbitmq),
]


@dataclass
class Place:
    app: Flask
    name: str

    @property
    def waits(self) -> Any:
        """What hears of results for coroutines."""
        return current(self.app).celery.result_waits

    @property
    def rpc(self) -> bool:
        return self.name.endswith("rpc")


@pytest.fixture(scope="module")
def sentinel() -> Iterator[Group]:
    """A master and a replica, which Sentinel watches."""
    with ExitStack() as stack:

        def start(server: Any) -> Any:
            stack.callback(server.close)
            return server.start()

        yield Group(start)


@pytest.fixture(params=PLACES, scope="module")
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    server = request.getfixturevalue(request.param.partition("-")[0])
    with opened(tmp_path_factory.mktemp("aget"), request.param, server) as app, app.app_context():
        yield Place(app, request.param)


@contextmanager
def opened(folder: Path, name: str, server: Any) -> Iterator[Flask]:
    """The app, with a worker in a process of its own."""
    settings: dict[str, Any] = {}
    if name == "sentinel":
        url = server.sentinel.url
        settings["NIGHTSHIFT_CELERY"] = {"broker_transport_options": {"master_name": "shop"}}
    else:
        url = server.fresh_url()
    if name.endswith("rpc"):
        settings["NIGHTSHIFT_RESULT_BACKEND"] = "rpc://"
    env = {key: value if isinstance(value, str) else json.dumps(value) for key, value in settings.items()}
    with running(folder, url, FLASK_APP="awaitapp", **env) as system:
        app = awaitapp.create_app(system.env["INSTANCE"], NIGHTSHIFT_BROKER_URL=url, **settings)
        system.worker("--concurrency", "3")
        yield app
        awaitapp.jobs.close(app)


def test_an_async_view_waits_and_its_loop_goes_on(place: Place) -> None:
    client = place.app.test_client()
    client.get("/add/1")  # what is done once in a process
    assert client.get("/sleep/2/30").get_json() == {"result": 2}
    late = client.get("/sleep/3/0.3")
    assert (late.status_code, late.get_json()) == (504, {"late": "The operation timed out."})
    assert client.get("/add/40").get_json() == {"results": list(range(1, 41))}


def test_errors_options_and_canvas_are_those_of_get(place: Place) -> None:
    async def view() -> None:
        failed = await fails.adelay("no such city")
        with pytest.raises(ValueError, match="no such city"):
            await failed.aget(30)
        assert isinstance(await failed.aget(propagate=False), ValueError)
        heard: list[Any] = []
        one = await add.adelay(2, 3)
        assert await one.aget(30, callback=lambda *said: heard.append(said)) == 5
        assert heard == [(one.id, 5)]
        assert one.get() == one.result == 5
        assert one.successful()
        with pytest.raises(ValueError, match="interval"):
            await one.aget(interval=0)

        both = await group(add.s(1, 1), add.s(2, 2)).adelay()
        assert await both.aget(30) == [2, 4]
        mixed = await group(sleep.s(3), fails.s("one of two")).adelay()
        with pytest.raises(ValueError, match="one of two"):
            await mixed.aget(30)
        steps = await chain(add.s(1, 2), add.s(3)).adelay()
        assert await steps.aget(30) == 6
        broken = await chain(fails.si("first step"), add.si(1, 1)).adelay()
        with pytest.raises(ValueError, match="first step"):
            await broken.aget(30)
        if not place.rpc:  # Celery has no chords there
            assert await (await chord([add.s(n, n) for n in range(3)], total.s()).adelay()).aget(30) == 6
        ignored = await add.aapply_async((1, 1), ignore_result=True)
        assert await ignored.aget() is None

    asyncio.run(view())


def test_a_job_is_refused_the_result_of_another(place: Place) -> None:
    async def view() -> None:
        refused = await (await waits.adelay(False)).aget(30)
        assert "Never call result.get() within a task" in str(refused)
        assert await (await waits.adelay(True)).aget(30) == 2

    if place.rpc:
        pytest.skip("with rpc:// a worker's child reads no replies")
    asyncio.run(view())


def test_any_result_can_be_read_and_rpc_says_which(place: Place) -> None:
    async def view() -> None:
        job = add.delay(3, 4)
        if place.rpc:
            with pytest.raises(Unsupported, match=r"use adelay\(\)"):
                await job.aget(10)
            return
        assert await job.aget(30) == 7
        assert await AsyncResult(job.id, app=current().celery).aget(0) == 7
        with pytest.raises(NotThereYet):
            await AsyncResult("unknown", app=current().celery).aget(0)

    asyncio.run(view())


def test_nothing_stays_when_nobody_waits(place: Place) -> None:
    async def impatient() -> None:
        later = [await add.aapply_async((1, 1), countdown=600) for _ in range(4)]
        for each in later[:3]:
            with pytest.raises(NotThereYet):
                await each.aget(0.01)
        cancelled = asyncio.create_task(later[3].aget(30))
        await asyncio.sleep(0.05)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert await (await add.adelay(1, 1)).aget(30) == 2

    for _ in range(3):
        asyncio.run(impatient())
    backend = place.waits.backend
    wait_for(lambda: not _names(), 15, "the threads stay")
    assert not backend._pending_results.concrete, "a wait stays registered"
    consumer = getattr(backend, "result_consumer", None)
    gc.collect()  # a result of another test, in whose error's frames it is kept, ends its subscription
    assert not getattr(consumer, "subscribed_to", None)


def test_many_requests_share_their_connections(place: Place, valkey: Any) -> None:
    if place.name != "valkey":
        pytest.skip("Redis counts its clients")
    client = place.app.test_client()
    client.get("/add/5")

    def clients() -> int:
        return len(valkey.client().client_list())

    before = clients()
    for _ in range(15):
        client.get("/add/5")
    assert clients() <= before + 2


CHANGES: dict[str, Callable[[Any], object]] = {
    "cluster fails over": RedisCluster.fail_over,
    "cluster's owner is killed": RedisCluster.kill_owner,
    "cluster's slot moves": RedisCluster.move,
    "sentinel's master is killed": lambda group: (group.master.kill(), group.switched()),
    "sentinel's master becomes a replica": Group.switch_by_hand,
    "sentinel's master hangs": lambda group: (group.master.freeze(), group.switched()),
}


@pytest.mark.redis
@pytest.mark.parametrize("change", [
    "cluster fails over",
    *(pytest.param(each, marks=pytest.mark.thorough) for each in list(CHANGES)[1:]),
])  # fmt: skip
def test_waits_go_on_while_the_master_changes(
    request: pytest.FixtureRequest, tmp_path: Path, change: str
) -> None:
    name = "sentinel" if change.startswith("sentinel") else "redis_cluster"
    clustered = name == "redis_cluster"
    server: Any = request.getfixturevalue(name) if clustered else Group(request.getfixturevalue("started"))
    go = tmp_path / "go"

    async def view(waits: Any) -> None:
        begun = [await until.adelay(str(go), number) for number in range(2)]
        known = add.delay(1, 1)
        heard = [asyncio.create_task(each.aget(60)) for each in (*begun, known)]
        assert await heard[2] == 2
        consumer = waits.backend.result_consumer
        await asyncio.to_thread(wait_for, lambda: len(consumer.subscribed_to) == 2, 10, "they do not wait")
        await asyncio.to_thread(CHANGES[change], server)
        go.touch()
        assert await asyncio.gather(*heard) == [0, 1, 2]
        assert await (await _enqueued(2, 1)).aget(30) == 3
        assert await AsyncResult(begun[1].id, app=current().celery).aget(5) == 1

    with opened(tmp_path, name, server) as app, app.app_context():
        asyncio.run(view(current(app).celery.result_waits))
    if clustered:
        server.ensure()


async def _enqueued(*args: int) -> Any:
    """The result of a job; the first connections of a publisher may lead to a server that says nothing any more."""
    for _ in range(20):
        with suppress(BrokerUnavailable):
            return await add.adelay(*args)
    raise AssertionError("no connection leads to the master")


@pytest.mark.parametrize("trouble", ["freeze", "stop"])
def test_a_time_limit_holds_while_the_result_backend_is_away(
    valkey: Any, redis_server: Any, tmp_path: Path, trouble: str
) -> None:
    app = Flask("away", instance_path=str(tmp_path))
    app.config |= {
        "NIGHTSHIFT_BROKER_URL": valkey.fresh_url(), "NIGHTSHIFT_RESULT_BACKEND": redis_server.fresh_url(),
    }  # fmt: skip
    jobs = Nightshift(app)

    @jobs.task(name="away.nothing", ignore_result=False)
    def nothing() -> None: ...

    async def view() -> None:
        getattr(redis_server, trouble)()
        began, ended = time.monotonic(), asyncio.Event()
        turns = asyncio.create_task(awaitapp.longest_turn(ended))
        with pytest.raises(Exception) as caught:  # noqa: PT011 - a time limit, or what Redis raises
            await jobs_of.aget(0.5)
        assert time.monotonic() - began < 5, caught
        ended.set()
        assert await turns < 1

    with app.app_context():
        jobs_of = nothing.delay()
    try:
        asyncio.run(view())
    finally:
        redis_server.ensure()
        jobs.close()


def test_an_app_that_is_garbage_leaves_no_thread(valkey: Any, tmp_path: Path) -> None:
    def use() -> None:
        app = Flask("garbage", instance_path=str(tmp_path))
        app.config |= {"NIGHTSHIFT_BROKER_URL": valkey.fresh_url()}
        jobs = Nightshift(app)

        @jobs.task(name="garbage.nothing", ignore_result=False)
        def nothing() -> None: ...

        async def view() -> None:
            with app.app_context(), pytest.raises(NotThereYet):
                await (await nothing.adelay()).aget(0.05)

        asyncio.run(view())
        assert _names()

    Nightshift(
        Flask("first", instance_path=str(tmp_path))
    )  # Celery keeps the first app of a process for ever
    wait_for(lambda: not _names(), 10, "threads of another test")
    use()

    def ended() -> bool:
        gc.collect()
        return not _names()

    wait_for(ended, 15, "a thread stays")


def _names() -> set[str]:
    return {each.name for each in threading.enumerate() if each.name.startswith("nightshift-results")}
