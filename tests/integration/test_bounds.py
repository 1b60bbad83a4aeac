"""Jobs too large for a RabbitMQ frame or for the pipe to a child block no other job, and keep the reason."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from boundsapp import create_app, fine, loud, nested, permanent
from system import System, running

FRAME = 131_072


@pytest.fixture(params=["valkey", "rabbitmq"], scope="module")
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    url = request.getfixturevalue(request.param).fresh_url()
    folder = tmp_path_factory.mktemp("bounds")
    with running(folder, url, FLASK_APP="boundsapp") as made, ExitStack() as stack:
        env = {key: made.env[key] for key in ("INSTANCE", "NIGHTSHIFT_BROKER_URL")}
        stack.enter_context(create_app(**env).app_context())
        made.worker("--concurrency", "1")
        yield made


def letter_of(system: System, job_id: str) -> dict[str, Any]:
    found = system.until(
        lambda: next((x for x in system.dead() if x["job_id"] == job_id), None), 40, f"{job_id} is not dead"
    )
    return dict(found)


def test_a_job_whose_headers_grow_too_large_is_settled_with_its_real_reason(system: System) -> None:
    """Loud errors of which each attempt carries one, and a header of the user's that leaves them little room."""
    worker = system.processes[-1]
    marks = [uuid.uuid4().hex[:12] for _ in range(4)]
    sent = [
        loud.apply_async((marks[0],)),
        loud.apply_async((marks[1],), headers={"x-user": "u" * (FRAME - 8_000)}),
        permanent.apply_async((marks[2],), headers={"x-user": "u" * (FRAME - 3_000)}),
        permanent.apply_async((marks[3],)),
    ]
    for job, mark, begun in zip(sent, marks, (4, 4, 1, 1), strict=True):
        letter = letter_of(system, job.id)
        assert system.events(mark).count("begun") == begun
        assert letter["error"].endswith("PermanentFailure" if begun == 1 else "Loud")
        assert len(letter["message"].encode()) <= 2_000
        shown = system.cli("dead", "show", letter["id"]).stdout
        assert "the real reason" in letter["message"] or "boundsapp" in shown
    assert not worker.lines("job.unsettled"), "a message that is too large was taken for an outage"
    mark = uuid.uuid4().hex[:12]
    fine.delay(mark)
    system.until(lambda: system.events(mark) == ["done"], 20, "the slot is taken")


def test_headers_that_are_too_large_at_once_are_refused_at_enqueueing(system: System) -> None:
    headers = {"x-user": "u" * (FRAME + 1)}
    if not system.env["NIGHTSHIFT_BROKER_URL"].startswith("amqp"):
        mark = uuid.uuid4().hex[:12]
        fine.apply_async((mark,), headers=headers)
        system.until(lambda: system.events(mark) == ["done"], 20, "Redis takes it")
        return
    marks = [uuid.uuid4().hex[:12] for _ in range(3)]
    with pytest.raises(ValueError, match=r"headers take 1\d\d,\d\d\d bytes.*'x-user'"):
        fine.apply_async((marks[0],), headers=headers)
    with pytest.raises(ValueError, match="'x-user'"):
        fine.enqueue_many([(marks[1],), (marks[1],)], headers=headers)
    with pytest.raises(ValueError, match="'x-user'"):  # Celery's own way
        fine.apply_async((marks[2],), headers=headers, retry_policy={"max_retries": 1})
    mark = uuid.uuid4().hex[:12]
    fine.delay(mark)
    system.until(lambda: system.events(mark) == ["done"], 20, "what comes after it does not run")
    assert not any(system.events(each) for each in marks)


def test_a_job_that_cannot_be_handed_to_a_child_is_buried(system: System) -> None:
    value: list[Any] = []
    for _ in range(600):
        value = [value]
    mark = uuid.uuid4().hex[:12]
    letter = letter_of(system, nested.delay(mark, value).id)
    assert (letter["reason"], letter["error"]) == ("invalid", "RecursionError")
    assert "cannot be handed to a child" in letter["message"]
    assert system.events(mark) == []
    assert len(system.processes[-1].lines("job.dead", job_id=letter["job_id"])) == 1


def test_a_dead_letter_that_carried_its_headers_in_its_body_is_replayed(system: System) -> None:
    mark = uuid.uuid4().hex[:12]
    job = permanent.apply_async((mark,), headers={"x-user": "u" * (FRAME - 3_000)})
    letter = letter_of(system, job.id)
    system.cli("dead", "replay", letter["id"])
    system.until(lambda: system.events(mark).count("begun") == 2, 30, "the replayed job does not run")
