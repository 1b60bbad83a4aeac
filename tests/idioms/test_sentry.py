"""Sentry: one event per dead job, with its exception, and a monitor per entry of the schedule."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from workshop import Workshop


def test_deaths_are_one_event_each_and_the_schedule_is_monitored(workshop: Callable[..., Workshop]) -> None:
    shop = workshop("watched")
    shop.run("flask", "jobs", "migrate")
    shop.run("flask", "miss-a-tick")
    worker = shop.start("worker", "flask", "jobs", "worker", "-c", "2", ready=" ready")
    shop.start("beat", "flask", "jobs", "beat", ready="beat.started")
    ids = json.loads(
        next(line for line in shop.run("flask", "enqueue").splitlines() if line.startswith('{"fail"'))
    )

    def told(kind: str) -> list[dict[str, Any]]:
        return [entry for entry in map(json.loads, shop.ledger()) if entry["kind"] == kind]

    def checks() -> list[str]:
        return [entry["status"] for entry in told("check_in") if entry["monitor_slug"] == "tidy-up"]

    shop.until(lambda: worker.log.count('"event": "job.dead"') == len(ids), "not all are dead", 60)
    shop.until(lambda: checks() == ["in_progress", "ok"], "the monitor is not told")
    assert worker.stop() == 0
    names = {job_id: name for name, job_id in ids.items()}
    errors = [
        (names.get(entry.get("tags", {}).get("celery_task_id"), ""), kind(entry)) for entry in told("event")
    ]
    assert sorted(errors) == [
        ("die", "WorkerLostError"),
        ("fail", "LookupError"),
        ("linger", "TimeLimitExceeded"),
        ("nobody.knows", "NotRegistered"),
    ]


def kind(event: dict[str, Any]) -> str:
    values = event.get("exception", {}).get("values", [])
    return str(values[-1]["type"]) if values else f"free text: {event.get('logentry')}"
