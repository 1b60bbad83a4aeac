"""The table of docs/how-to/move.md, line by line, and the lines that restore Celery's behaviour."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from shop_stack import ROOT
from workshop import Workshop

PAGE = (ROOT / "docs/how-to/move.md").read_text()
MOVE, RESTORE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
WORKER = ["celery", "-A", "moved.celery", "worker", "--concurrency", "2", "--loglevel", "INFO"]


def state(shop: Workshop, *ids: str) -> list[Any]:
    """What Celery says of the jobs: state and result."""
    calls = [f"m.celery.AsyncResult({job_id!r})" for job_id in ids]
    return shop.evaluate(*(f"[{call}.state, str({call}.result)]" for call in calls))


@pytest.mark.parametrize("restore", [False, True], ids=["as it is", "restored"])
def test_each_line_of_the_table(workshop: Callable[..., Workshop], restore: bool) -> None:
    shop = workshop("moved", RESTORE=RESTORE if restore else "")
    shop.run("flask", "jobs", "migrate")
    first = shop.start("first", *WORKER, "-n", "first@x", ready=" ready")
    value, fails, asks, uses_up, late = shop.enqueue(
        "value.delay()",
        "fails.delay()",
        "asks.delay()",
        "uses_up.delay()",
        "late.apply_async(expires='2020-01-01T00:00:00+00:00', ignore_result=False)",
    )
    shop.until_settled(value)
    asked = shop.until(lambda: (job := shop.job(asks)) and job.state == "retrying" and job, "no retry")
    wait = (asked.due_at - asked.history[-1].ended_at).total_seconds()
    assert shop.until_settled(uses_up).state == "dead"
    assert shop.until_settled(late).state == "dead"
    shop.until(lambda: "moved task_failure moved.uses_up" in shop.ledger(), "no signal")
    if not restore:
        shop.until(lambda: "moved task_retry moved.fails" in shop.ledger(), "no signal")
    lines = shop.ledger()
    if restore:
        assert shop.until_settled(fails).state == "dead"
        assert state(shop, value, fails, late) == [
            ["SUCCESS", "42"],
            ["FAILURE", "no luck"],
            ["REVOKED", "expired"],
        ]
        assert "moved limits None None" in lines
        assert 175 < wait < 185
        assert "moved uses_up 3" in lines
        assert "moved uses_up 4" not in lines
        assert lines.count("moved fails 0") == 1
        assert "moved task_retry moved.fails" not in lines
    else:
        shop.until(lambda: (job := shop.job(fails)) and job.state in ("retrying", "running"), "no retry")
        assert state(shop, value, late) == [["PENDING", "None"], ["REVOKED", "expired"]]
        assert "moved limits 300 330" in lines
        assert wait < 60
        assert "moved uses_up 5" in lines
        assert "moved uses_up 6" not in lines
        assert "moved task_failure moved.fails" not in lines
    assert lines.count("moved task_failure moved.uses_up") == 1
    assert "moved late" not in lines

    def dead() -> set[str]:
        return {
            letter["job_id"] for letter in json.loads(shop.run("flask", "jobs", "dead", "list", "--json"))
        }

    shop.until(lambda: {uses_up, late} <= dead(), "no dead letters")

    shop.enqueue("kills_its_worker.delay()")
    first.popen.wait(30)
    shop.start("second", *WORKER, "-n", "second@x", ready=" ready")
    if restore:
        (after,) = shop.enqueue("value.delay()")
        shop.until_settled(after)
        assert shop.ledger().count("moved kills") == 1
    else:
        shop.until(lambda: shop.ledger().count("moved kills") == 2, "it does not run again")


def test_the_app_of_the_page_is_an_app(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_BROKER_URL", "redis://127.0.0.1:1/0")
    monkeypatch.chdir(tmp_path)
    module: dict[str, Any] = {"__name__": "moved_app"}
    exec(MOVE, module)
    assert module["create_app"]().extensions["celery"]
