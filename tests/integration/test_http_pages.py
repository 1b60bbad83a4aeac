"""Lists of the HTTP API and of the dashboard go on page by page, and show what the pages show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Request

from api_client import Api
from bulks import letters
from flask_nightshift import Actor
from flask_nightshift.domain.actor import everything
from flask_nightshift.operations import bulk
from flask_nightshift.operations.dead_letters import Filters
from flask_nightshift.web.dashboard.pages import bulk as bulk_page
from flask_nightshift.web.dashboard.pages import letters as letters_page
from flask_nightshift.web.dashboard.pages import locks as locks_page
from opsapp import Ops, opened


def who(_: Request) -> Actor:
    return everything("ada")


@pytest.fixture
def ops(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ops]:
    config: dict[str, Any] = {"NIGHTSHIFT_DASHBOARD_AUTH": who, "SECRET_KEY": "k", "TESTING": True}
    if getattr(request, "param", "") == "postgres":
        config["NIGHTSHIFT_DATABASE_URL"] = request.getfixturevalue("postgres").fresh_url()
    with opened(tmp_path, "memory://", **config) as made:
        yield made


def all_of(api: Api, path: str, member: str, **query: Any) -> list[Any]:
    """The items of all pages of two."""
    found, after = [], None
    for _ in range(20):
        page = api.get(path, limit=2, **query, **({"after": after} if after else {}))
        assert len(page[member]) <= 2
        found += page[member]
        after = page["after"]
        if after is None:
            return found
    raise AssertionError(f"{path} has no end")


def shown(ops: Ops, path: str, word: str) -> list[str]:
    """The texts of all pages of the dashboard, by their links ``word``."""
    pages, client = [], ops.app.test_client()
    while path:
        answer = client.get(path)
        assert answer.status_code == 200, answer.text
        pages.append(answer.text)
        found = re.search(rf'href="([^"]+)" rel="next">{word}<', answer.text)
        path = found[1].replace("&amp;", "&") if found else ""
    return pages


@pytest.mark.parametrize(
    "ops", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
def test_bulk_actions_and_incidents(ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(ops.app)
    for number in range(5):
        letters(ops.services.store, number + 1, task=f"mail.{number}")
    ops.ok("dead", "discard", "--task", "mail.4", "--yes")
    planned = bulk.plan(ops.services, "discard", Filters())
    made = [bulk.start(ops.services, planned, by="ada", rate=0.001).id for _ in range(5)]
    assert [each["id"] for each in all_of(api, "/actions", "actions")] == made[::-1]
    opened_now = all_of(api, "/incidents", "incidents")
    assert sorted(each["task"] for each in opened_now) == [f"mail.{number}" for number in range(4)]
    for order in ("latest", "count"):
        every = all_of(api, "/incidents", "incidents", order=order, status="any", trend="days")
        assert sorted(each["task"] for each in every) == [f"mail.{number}" for number in range(5)]
        whole = api.get("/incidents", order=order, status="any", trend="days")["incidents"]
        assert every == whole
    assert [each["waiting"] for each in every] == [4, 3, 2, 1, 0]
    assert {len(each["trend"]["counts"]) for each in every} == {14}
    one = every[0]["fingerprint"]
    assert len(api.get(f"/incidents/{one}", trend="days")["trend"]["counts"]) == 14
    for after in ("x", "1,2", f"{'9' * 30},2026-01-01T00:00:00+00:00,x"):
        assert api("GET", "/incidents", 422, query_string={"after": after})["code"] == "invalid-key"
        assert api("GET", "/actions", 422, query_string={"after": after[:3]})["code"] == "invalid-key"
    monkeypatch.setattr(bulk_page, "ROWS", 2)
    monkeypatch.setattr(letters_page, "MOST_INCIDENTS", 2)
    assert len(shown(ops, "/nightshift/bulk", "Older")) == 3
    pages = shown(ops, "/nightshift/letters?sort=count&show=all", "More")
    assert [re.findall(r">(mail\.\d)</a>", page.replace("<wbr>", "")) for page in pages] == [
        ["mail.3", "mail.2"],
        ["mail.1", "mail.0"],
        ["mail.4"],
    ]


def test_locks(ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    with ops.app.app_context():
        for number in range(5):
            ops.send.apply_async((number,), unique="until_done", unique_key=f"k{number}")
    api, eve = Api(ops.app), Api(ops.app, "view")
    keys = [f"mail.send:k{number}" for number in range(5)]
    assert [each["key"] for each in all_of(api, "/locks", "locks")] == keys
    page = eve.get("/locks", limit=2)
    assert (page["more"], page["after"]) == (True, None)
    assert "view_args" in eve("GET", "/locks", 403, query_string={"after": "x"})["detail"]
    monkeypatch.setattr(locks_page, "SHOWN", 2)
    pages = shown(ops, "/nightshift/locks", "More")
    assert [re.findall(r">(mail\.send:k\d)</code>", page) for page in pages] == [
        keys[:2],
        keys[2:4],
        keys[4:],
    ]


def test_jobs_that_wait_for_their_time_and_counts(ops: Ops) -> None:
    api = Api(ops.app)
    with ops.app.app_context():
        made = [ops.send.apply_async((number,), countdown=3600 + number).id for number in range(5)]
    ops.flush()
    assert [each["id"] for each in all_of(api, "/due", "jobs")] == made
    assert all_of(api, "/due", "jobs", state="retrying") == []
    assert len(all_of(api, "/due", "jobs", task="mail.send", queue="mail")) == 5
    for path in ("/due", "/jobs", "/job-count"):
        assert "use one of queued, r" in api("GET", path, 422, query_string={"state": "null"})["detail"]
    assert api.get("/job-count", q="task:mail.*") == {"number": 5, "more": False}
    assert (
        "view_args" in Api(ops.app, "view")("GET", "/job-count", 403, query_string={"q": "secret"})["detail"]
    )
