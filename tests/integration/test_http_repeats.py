"""Requests with an ``Idempotency-Key`` that end half way: a repeated one is not done a second time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api_client import Api
from children import fork, join
from flask_nightshift.web.api import repeats
from long_road import LongRoad, far_away
from opsapp import Ops, opened, publishes
from servers import wait_for

SCHEDULE = {"plain": {"task": "mail.send", "schedule": "0 3 1 1 *"}}
KEY = {"Idempotency-Key": "once"}
PATH = "/schedule/plain/run-now"


@pytest.fixture(params=["valkey", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Ops, LongRoad, Any]]:
    server = request.getfixturevalue(request.param)
    with (
        far_away(server, 0.0) as (url, road),
        opened(tmp_path, url, NIGHTSHIFT_SCHEDULE=SCHEDULE) as ops,
    ):
        wait_for(lambda: publishes(ops), 60, "the broker takes no job")
        ops.services.broker.purge("mail")
        yield ops, road, server


def ready(ops: Ops) -> int:
    return ops.services.broker.depths(["mail"])[0].ready


def test_a_publish_whose_confirmation_is_lost_is_not_repeated(place: tuple[Ops, LongRoad, Any]) -> None:
    ops, road, _ = place
    api = Api(ops.app)
    road.deaf_to = b"mail.send"
    assert api("POST", PATH, 503, headers=KEY)["code"] == "broker-unavailable"
    road.hears()
    wait_for(lambda: ready(ops) == 1, 20, "the job that the broker took all the same")
    said = api("POST", PATH, 409, headers=KEY)
    assert said["code"] == "outcome-unknown"
    assert "use a new key" in said["detail"]
    assert ready(ops) == 1
    api("POST", PATH, headers={"Idempotency-Key": "another"})
    wait_for(lambda: ready(ops) == 2, 20, "the second job")


def test_an_outage_that_is_told_before_the_action_may_be_repeated(place: tuple[Ops, LongRoad, Any]) -> None:
    ops, _, server = place
    api = Api(ops.app)
    server.freeze()
    try:
        assert api("POST", PATH, 503, headers=KEY)["code"] == "broker-unavailable"
    finally:
        server.thaw()
    wait_for(lambda: api.ask("POST", PATH, headers=KEY).status_code == 200, 30, "the broker is back")
    api("POST", PATH, headers=KEY)
    wait_for(lambda: ready(ops) == 1, 20, "one job")


def test_a_process_that_is_killed_after_the_action_is_not_repeated(place: tuple[Ops, LongRoad, Any]) -> None:
    ops, _, _ = place
    api = Api(ops.app)

    def killed() -> None:
        repeats.First.keep = lambda *_: os._exit(0)  # type: ignore[method-assign]
        api.ask("POST", PATH, headers=KEY)

    join(fork(killed))
    wait_for(lambda: ready(ops) == 1, 20, "the job of the killed process")
    said = api("POST", PATH, 409, headers=KEY)
    assert said["code"] == "in-progress"
    assert "use a new key" in said["detail"]
    assert ready(ops) == 1
