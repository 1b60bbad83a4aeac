"""Code for plain Celery, moved with one or two changed lines; Celery's own command starts the workers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from workshop import Workshop

Make = Callable[..., Workshop]
WORKER = ["worker", "--loglevel", "INFO", "--concurrency", "2"]


def celery_worker(shop: Workshop, module: str, *options: str) -> None:
    shop.run("flask", "jobs", "migrate")
    shop.start("worker", "celery", "-A", module, *WORKER, *options, ready=" ready")


def test_flasks_documented_pattern(workshop: Make) -> None:
    shop = workshop("flask_docs")
    celery_worker(shop, "make_celery")
    with shop.client() as client:

        def post(path: str, **form: int) -> str:
            return str(client.post(f"/tasks/{path}", data=form).json()["result_id"])

        def result(job_id: str) -> dict[str, Any]:
            return client.get(f"/tasks/result/{job_id}").json()

        added, block, process, fail = post("add", a=2, b=3), post("block"), post("process"), post("fail")
        done = {"ready": True, "successful": True, "value": 5, "state": "SUCCESS"}
        shop.until(lambda: result(added) == done, "add has no result")
        progress = {
            "ready": False,
            "successful": None,
            "value": {"current": 1, "total": 3},
            "state": "PROGRESS",
        }
        shop.until(lambda: result(process) == progress, "no progress")
        (shop.folder / "go-on").touch()
        shop.until(lambda: result(process)["value"] == {"current": 3, "total": 3}, "process does not end")
        assert shop.until_settled(block).state == "succeeded"
        assert shop.until_settled(fail).state == "dead"
        assert shop.ledger().count("docs fail") == 2, "one retry"


def test_flask_celeryext(workshop: Make) -> None:
    shop = workshop("celeryext_app")
    celery_worker(shop, "celeryext_app.celery")
    plain, asked, fails = shop.enqueue("plain.delay(1)", "in_request.delay()", "fails.delay()")
    assert shop.until_settled(plain).state == "succeeded"
    assert shop.until_settled(asked).state == "succeeded"
    assert shop.until_settled(fails).state == "dead"
    assert sorted(shop.ledger()) == [
        "celeryext fails 0", "celeryext fails 1", "celeryext in_request True loaded", "celeryext plain 1",
    ]  # fmt: skip


def test_classes_of_tasks_and_retries_of_ones_own(workshop: Make) -> None:
    shop = workshop("classes")
    celery_worker(shop, "classes.celery_app")
    imported, resource, audited, own, over, automatic, once = shop.enqueue(
        "importer.delay('a.csv')", "with_resource.delay()", "audited.delay()", "own_retries.delay(2)",
        "own_retries.delay(9)", "automatic.delay()", "once.delay()",
    )  # fmt: skip
    for job_id in (imported, resource, audited, own):
        assert shop.until_settled(job_id).state == "succeeded"
    for job_id in (over, automatic, once):
        assert shop.until_settled(job_id).state == "dead"
    lines = shop.ledger()
    assert {"classes import a.csv", "classes with_resource connection True", "classes audited"} <= set(lines)
    assert lines.count("classes automatic") == 3
    assert lines.count("classes once") == 1
    assert lines.count("classes taken 2") == 1
    assert lines.count("classes busy 3") == 1, "three retries, as the task says"
    assert {"classes audit import.file", "classes audit classes.audited"} <= set(lines)
    for task in ("own_retries", "automatic", "once"):
        assert sum(line.startswith(f"classes on_failure classes.{task}") for line in lines) == 1
    assert "classes audit classes.with_resource" not in lines, "it has a base of its own"


def test_discovered_tasks_and_a_worker_with_beat(workshop: Make) -> None:
    shop = workshop("discovered_app")
    celery_worker(shop, "discovered_app.celery", "-B")
    sent = shop.enqueue("app.extensions['celery'].send_task('mail.send', ['ada'])")
    assert shop.until_settled(*sent).state == "succeeded"
    with shop.client() as client:
        welcomed = client.post("/welcome/Ada").json()["id"]
    assert shop.until_settled(welcomed).state == "succeeded"
    assert {"discovered send ada", "discovered welcome Ada"} <= set(shop.ledger())
    for source in ("conf", "added"):
        line = f"discovered tick {source}"
        shop.until(lambda: shop.ledger().count(line) >= 2, f"no ticks of {source}")  # noqa: B023
    health = json.loads(shop.run("flask", "jobs", "health", "--json"))
    assert health["status"] in {"ok", "ready"}, health
