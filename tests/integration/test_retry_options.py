"""``retry(queue=…, priority=…, expires=…)``: a value that cannot be published fails the task and blocks no worker."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from flask_nightshift.domain.job import utcnow
from servers import RabbitMQ
from system import System, running


def marker() -> str:
    return uuid.uuid4().hex[:12]


@pytest.fixture(scope="module")
def system(broker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Web and one worker, which the tests leave as they were."""
    with running(tmp_path_factory.mktemp("retries"), broker.fresh_url(), FLASK_APP="retryapp") as made:
        made.web()
        made.worker("--concurrency", "1")
        yield made


def test_an_option_that_cannot_be_written_is_an_error_in_the_task(system: System) -> None:
    for options, said in [
        ({"priority": 300}, "priority=300 is not usable: give a whole number from 0 to 255"),
        ({"priority": "high"}, "priority='high' is not usable: give a whole number from 0 to 255"),
        (
            {"max_retries": "3"},
            "max_retries='3' is not usable: give a whole number from 0 to 1000000, or None for no limit",
        ),
        ({"countdown": "60"}, "countdown='60' is not usable: give seconds, at most 268435455"),
        ({"eta": "soon"}, "eta='soon' is not usable: give a datetime or an ISO 8601 text, or None for now"),
        ({"queue": "q" * 300}, f"queue='{'q' * 76}... is not usable: give a name of 1 to 255 bytes"),
        (
            {"expires": "soon"},
            "expires='soon' is not usable: give seconds, a timedelta, a datetime or an ISO 8601 text",
        ),
    ]:
        who = marker()
        system.until_state(system.enqueue("test.ask_in_vain", who, options), "succeeded")
        assert system.events(who) == [said]


def test_a_retry_expires_when_the_task_says_in_every_way_of_celery(system: System) -> None:
    for kind in ("seconds", "delta", "moment"):
        who = marker()
        system.until_state(system.enqueue("test.ask_for_an_hour", who, kind), "succeeded")
        expires = datetime.fromisoformat(system.events(who)[-1].removeprefix("done "))
        assert timedelta(minutes=55) < expires - utcnow() <= timedelta(hours=1)


def test_options_of_automatic_retries_reach_the_message(system: System) -> None:
    who = marker()
    system.until_state(system.enqueue("test.expires_when_retried", who), "succeeded")
    assert system.events(who) == ["begun", "begun", "priority 7, expires True"]


def test_a_retry_that_cannot_be_written_is_buried_and_the_worker_goes_on(
    rabbitmq: RabbitMQ, at: Callable[..., System]
) -> None:
    system = at(rabbitmq.fresh_url(), FLASK_APP="retryapp")
    system.worker("--concurrency", "1")
    lost = [system.enqueue("test.ask_unchecked", marker(), {"priority": 300}) for _ in range(3)]
    system.until_state(system.enqueue("test.succeed", marker()), "succeeded", 40)
    for job in lost:
        system.until_state(job, "dead")
    letters = {letter["job_id"]: letter for letter in system.dead()}
    assert set(letters) == set(lost)
    assert {letter["reason"] for letter in letters.values()} == {"permanent"}
    assert all("cannot be written" in letter["message"] for letter in letters.values())
