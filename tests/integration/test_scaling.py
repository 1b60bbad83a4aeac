"""``GET /nightshift/scale`` beside a real worker, on both brokers and both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opsapp import Ops, opened
from servers import Valkey
from system import System, running

PAIRS = {"valkey": None, "rabbitmq": "postgres"}
TOKEN = "a-token-of-the-scaler"


@pytest.fixture(
    params=["valkey", pytest.param("rabbitmq", marks=[pytest.mark.rabbitmq, pytest.mark.postgres])]
)
def system(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[System]:
    settings = {"NIGHTSHIFT_HTTP_ACCESS": "token", "NIGHTSHIFT_HTTP_TOKEN": TOKEN}
    if database := PAIRS[request.param]:
        settings["NIGHTSHIFT_DATABASE_URL"] = request.getfixturevalue(database).fresh_url()
    with running(tmp_path, request.getfixturevalue(request.param).fresh_url(), **settings) as made:
        yield made


def test_the_wish_follows_the_jobs(system: System) -> None:
    system.web()
    http = system.http
    assert http is not None

    def ask(status: int = 200, **words: Any) -> dict[str, Any]:
        answer = http.get("/nightshift/scale", params=words, headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == status, answer.text
        return dict(answer.json())

    assert http.get("/nightshift/scale").status_code == 403
    asked: dict[str, Any] = {"queue": "celery", "target": 2, "places": 2}
    assert ask(**asked)["wished_workers"] == 0
    assert "Did you mean 'celery'?" in ask(404, queue="celry")["message"]

    first = system.until(lambda: system.enqueue("test.succeed", "first", 0), 20, "it is not enqueued")
    waiting = system.until(lambda: (found := ask(**asked))["oldest_seconds"] and found, 15, "no age")
    assert waiting["wished_workers"] == 1
    assert waiting["queues"][0]["workers"] == 0
    assert waiting["queues"][0]["estimated"] == ("amqp" in system.env["NIGHTSHIFT_BROKER_URL"])
    later = system.until(
        lambda: (found := ask(**asked))["oldest_seconds"] > waiting["oldest_seconds"] and found, 15, ""
    )
    assert later["time_to_empty_seconds"] is None  # none ended

    worker = system.worker("--concurrency", "2")
    system.until_state(first, "succeeded")
    timed = [system.enqueue("test.succeed", f"timed-{number}", 0.5) for number in range(4)]
    for job_id in timed:
        system.until_state(job_id, "succeeded")
    system.until(lambda: ask(**asked)["queues"][0]["runtime_seconds"] > 0.3, 20, "the jobs were not counted")

    def knows_places() -> bool:
        return bool(ask(queue="celery")["places_per_worker"] == 2)

    system.until(knows_places, 15, "the worker does not say its places")
    worker.stop()

    for number in range(12):
        system.enqueue("test.succeed", f"more-{number}", 0.5)
    found = system.until(lambda: (found := ask(**asked))["ready"] >= 12 and found, 15, "they do not wait")
    [queue] = found["queues"]
    # about 0.4 s each, 12 of them within 2 s: 2.4 places, and those that ended of late; 2 places a worker
    assert found["wished_workers"] == -(-queue["wished_places"] // 2) >= 2
    assert queue["wished_places"] > 12 * queue["runtime_seconds"] / 2
    assert ask(queue="celery", target=0.1, places=2)["wished_workers"] > found["wished_workers"]
    assert queue["rate_per_second"] > 0
    assert found["time_to_empty_seconds"] == pytest.approx(
        found["ready"] / queue["rate_per_second"], rel=0.01
    )
    assert ask()["wished_workers"] >= 1  # all queues
    system.cli("pause", "celery")
    system.until(lambda: ask(**asked)["queues"][0]["pause"], 10, "it is not paused")
    assert ask(**asked)["wished_workers"] <= 1


@pytest.fixture
def ops(valkey: Valkey, tmp_path: Path) -> Iterator[Ops]:
    with opened(tmp_path, valkey.fresh_url()) as made:
        yield made


@pytest.mark.parametrize(("query", "said"), [
    ("target=0", "target='0' is not usable: give one number above 0 and up to 86400"),
    ("target=nan", "target='nan' is not usable"),
    ("target=1&target=2", "target='1, 2' is not usable"),
    ("places=-1", "places='-1' is not usable"),
    ("queue=", "queue= needs the name of a queue"),
    ("traget=3", "there is no parameter 'traget'; the parameters are queue, target, places"),
    ("&".join("queue=mail" for _ in range(101)), "101 queues are too many"),
])  # fmt: skip
def test_wrong_parameters_are_refused(ops: Ops, query: str, said: str) -> None:
    answer = ops.get(f"/nightshift/scale?{query}")
    assert answer.status_code == 400
    assert said in answer.get_json()["message"]


def test_without_an_answer_there_is_no_wish(ops: Ops, valkey: Valkey, tmp_path: Path) -> None:
    def wish() -> tuple[int, Any, list[str]]:
        answer = ops.get("/nightshift/scale?queue=mail")
        return answer.status_code, answer.get_json()["wished_workers"], answer.get_json()["problems"]

    assert wish() == (200, 0, [])
    [history] = (tmp_path / "instance").glob("*.sqlite3")
    ops.services.store.close()
    history.rename(tmp_path / "away")
    status, wished, problems = wish()
    assert (status, wished, len(problems)) == (503, None, 1)
    (tmp_path / "away").rename(history)
    assert wish() == (200, 0, [])
    valkey.stop()
    status, wished, problems = wish()
    assert (status, wished, len(problems)) == (503, None, 1)
