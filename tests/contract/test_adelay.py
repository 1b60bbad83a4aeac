"""``await task.adelay(…)``: from async views, with the broker away, in a transaction, and outside of a loop."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from broker_harness import Harness
from flask_nightshift import BrokerUnavailable, Nightshift
from flask_nightshift.journal import find_job
from flask_nightshift.services import current
from resultsapp import add, total
from servers import wait_for


def test_an_async_view_enqueues_jobs(harness: Harness, app: Flask) -> None:
    @app.post("/add")
    async def view() -> Any:
        single, several = await asyncio.gather(add.adelay(1, 2), add.aenqueue_many([(3, 4), (5, 6)]))
        later = await add.aapply_async((7, 8), countdown=60)
        chained = await (add.s(1, 1) | total.s()).adelay()
        return {"ids": [single.id, *several, later.id, chained.parent.id]}

    answer = app.test_client().post("/add", headers={"X-Request-ID": "from-a-view"})
    assert answer.status_code == 200, answer.text
    ids = answer.get_json()["ids"]
    current(app).journal.flush()
    found = [find_job(current(app).store, each) for each in ids]
    assert [each.task for each in found if each] == ["results.add"] * 5
    assert {each.request_id for each in found if each} == {"from-a-view"}
    assert len(set(ids)) == 5
    ready = harness.broker.depths([harness.queue])[0].ready
    assert ready == (4 if harness.can.keeps_delays else 5)


def test_errors_and_refusals_are_those_of_delay(app: Flask) -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        asyncio.run(add.adelay(1))  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="countdown"):
        asyncio.run(add.aapply_async((1, 2), countdown="soon"))  # type: ignore[arg-type]
    waiting = add.adelay(1, 2)
    with pytest.raises(RuntimeError, match="elsewhere call delay"):
        waiting.send(None)


@pytest.mark.parametrize("away", ["valkey"])
def test_the_loop_turns_while_the_broker_is_away(
    away: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server = request.getfixturevalue(away)
    app = Flask("awaited", instance_path=str(tmp_path))
    app.config |= {"NIGHTSHIFT_BROKER_URL": server.fresh_url()}
    jobs = Nightshift(app)

    @jobs.task(name="awaited.nothing")
    def nothing() -> None: ...

    async def enqueue() -> tuple[float, float]:
        """The longest turn of the loop, and how long the call took."""
        longest, began = 0.0, time.monotonic()
        call = asyncio.create_task(nothing.adelay())
        while not call.done():
            turn = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - turn)
        with pytest.raises(BrokerUnavailable):
            call.result()
        return longest, time.monotonic() - began

    with app.app_context():
        nothing.delay()
    server.freeze()
    try:
        longest, took = asyncio.run(enqueue())
    finally:
        server.thaw()
    assert took > 1
    assert longest < took / 2
    jobs.close()


def test_its_threads_end_with_the_app(valkey: Any, tmp_path: Path) -> None:
    def threads() -> set[threading.Thread]:
        return {each for each in threading.enumerate() if each.name.startswith("nightshift-enqueue")}

    def use() -> set[threading.Thread]:
        app = Flask("awaited", instance_path=str(tmp_path))
        app.config |= {"NIGHTSHIFT_BROKER_URL": valkey.fresh_url()}
        jobs = Nightshift(app)

        @jobs.task(name="awaited.nothing")
        def nothing() -> None: ...

        async def enqueue() -> None:
            with app.app_context():
                await nothing.adelay()

        asyncio.run(enqueue())
        first = threads() - before
        assert first
        jobs.close()
        wait_for(lambda: not any(each.is_alive() for each in first), 5, "a thread stays")
        asyncio.run(enqueue())
        return threads() - before

    Nightshift(
        Flask("first", instance_path=str(tmp_path))
    )  # Celery keeps the first app of a process for ever
    before = threads()
    second = use()
    assert second

    def ended() -> bool:
        gc.collect()
        return not any(each.is_alive() for each in second)

    wait_for(ended, 10, "a thread stays")
