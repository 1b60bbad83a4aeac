"""The dashboard's pages of queues, delayed jobs, bulk actions and the audit, on both brokers and both databases."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from flask import Request

from bulks import drive, letters, runner, statuses, warm
from flask_nightshift import Actor
from flask_nightshift.domain.actor import PERMISSIONS
from flask_nightshift.domain.job import utcnow
from flask_nightshift.journal import note
from flask_nightshift.observe import audit, delayed
from flask_nightshift.observe.jobs import Filters as JobFilters
from flask_nightshift.operations import bulk
from flask_nightshift.operations.dead_letters import Filters
from opsapp import Ops, opened, opened_on

HOSTILE = '"><script>alert(1)</script>\x1b[31m'


def who(request: Request) -> Actor | None:
    name, colon, permissions = request.headers.get("X-Actor", "").partition(":")
    return Actor(name, frozenset(permissions.split() if colon else PERMISSIONS)) if name else None


class Pages:
    """A visitor of the dashboard."""

    def __init__(self, ops: Ops, actor: str = "ada") -> None:
        self._client = ops.app.test_client()
        self._headers = {"X-Actor": actor, "Sec-Fetch-Site": "same-origin"}
        self._token = ""

    def get(self, path: str, status: int = 200) -> str:
        answer = self._client.get(f"/nightshift{path}", headers=self._headers)
        assert answer.status_code == status, answer.text
        found = re.search(r'name="token" value="(\w+)"', answer.text)
        self._token = found[1] if found else self._token
        return answer.text

    def post(self, path: str, status: int = 303, **fields: Any) -> str:
        form = {"token": self._token, **fields}
        answer = self._client.post(f"/nightshift{path}", data=form, headers=self._headers)
        assert answer.status_code == status, answer.text
        return str(answer.headers.get("Location", answer.text))


def followed(pages: Pages, to: str) -> str:
    """The page to which an action leads, which says what was done."""
    return pages.get(to.removeprefix("/nightshift"))


@pytest.fixture(params=["valkey", "rabbitmq"])
def ops(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ops]:
    with opened_on(request, tmp_path, NIGHTSHIFT_DASHBOARD_AUTH=who, SECRET_KEY="k") as made:
        warm(made)
        yield made


def test_queues_are_shown_paused_and_purged(ops: Ops) -> None:
    pages = Pages(ops)
    ops.worker_seen()
    ops.send.delay(1)
    ops.flush()
    pages.get("/queues/pause?queue=mail")
    pages.post("/queues/pause/now", queue="mail", why=HOSTILE)
    shown = pages.get("/queues")
    assert "paused" in shown
    assert "<script>alert" not in shown
    assert "\x1b" not in shown
    assert "1 job waits in mail" in pages.get("/queues/purge?queue=mail")
    assert "Nothing was changed" in pages.post("/queues/purge/now", 400, queue="mail", confirm="Mail")
    pages.post("/queues/purge/now", queue="mail", confirm="mail")
    pages.post("/queues/resume", queue="mail")
    assert ops.services.broker.depths(["mail"])[0].ready == 0
    assert ops.services.orders.pauses() == {}
    told = audit.page(ops.services).actions
    assert [(row.by, row.action, row.target) for row in told] == [
        ("ada", verb, "queue mail") for verb in ("resume", "purge", "pause")
    ]
    for path in ("/queues/pause", "/queues/purge"):
        assert "names no queue" in pages.get(path, 400)
    assert "names no queue" in pages.post("/queues/resume", 400)


def test_delayed_jobs_are_listed_by_due_time_a_page_at_a_time(ops: Ops) -> None:
    for number in range(5):
        ops.send.apply_async((number,), countdown=3600 - number * 60)
    ops.send.delay(9)
    ops.flush()
    now = utcnow()
    first = delayed.page(ops.services, now, limit=3)
    second = delayed.page(ops.services, now, limit=3, after=first.after)
    found = [*first.jobs, *second.jobs]
    assert len(found) == 5
    assert second.after is None
    assert [job.due for job in found] == sorted(job.due for job in found)
    assert found[0].as_dict()["state"] == "queued"
    assert delayed.page(ops.services, now, task="other").jobs == []
    assert delayed.page(ops.services, now + timedelta(hours=2)).jobs == []
    pages = Pages(ops)
    shown = pages.get("/delayed?kind=delayed&queue=mail")
    chosen = [job.id for job in found[:2]]
    assert "No job is chosen" in pages.post("/delayed/cancel", 400)
    if ops.services.broker.capabilities.lists_delayed:
        assert "Run now" in shown
        pages.post("/delayed/run", id=chosen)
        assert ops.services.broker.depths(["mail"])[0].ready == 3
    else:
        assert "cannot be run before their time" in shown
        assert "Run now" not in shown
        assert "one by one" in pages.post("/delayed/run", 409, id=chosen)
    assert "other had moved on before" in followed(
        pages, pages.post("/delayed/cancel", asked="yes", id=[found[4].id, "0" * 8])
    )
    cancelled = audit.page(ops.services, audit.Filters(action="cancel")).actions
    assert [row.count for row in cancelled] == [1]
    assert "There is no such list" in pages.get("/delayed?kind=x", 400)
    assert "not the key of a page" in pages.get("/delayed?after=x", 400)


def test_the_page_says_which_jobs_are_cancelled_and_which_a_worker_will_drop(ops: Ops) -> None:
    for number in range(3):
        ops.send.apply_async((number,), countdown=3600)
    ops.flush()
    pages = Pages(ops)
    shown = pages.get("/delayed")
    places = re.findall(r'name="place" value="([^"]*)" form="chosen"', shown)
    ids = [each.rpartition(",")[2] for each in places]
    assert len(ids) == 3
    said = followed(pages, pages.post("/delayed/cancel", asked="yes", id=ids[:2], place=places))
    if ops.services.broker.waiting_jobs() is not None:
        assert "2 jobs cancelled." in said
        assert "as soon as" not in said
        assert ops.services.orders.count_tombstones() == 0
    else:
        assert "2 jobs will be cancelled as soon as a worker meets them." in said
        assert "cancelled." not in said.replace("will be cancelled", "")
        assert ops.services.orders.count_tombstones() == 2


@pytest.mark.parametrize("history", ["failures", "off"])
def test_delayed_jobs_are_listed_without_rows_in_the_history(ops: Ops, tmp_path: Path, history: str) -> None:
    """By the broker if it can list them; else the page says that they are not recorded."""
    url = ops.services.settings.broker_url
    auth: dict[str, Any] = {"NIGHTSHIFT_DASHBOARD_AUTH": who, "SECRET_KEY": "k"}
    folder = tmp_path / "unrecorded"
    folder.mkdir()
    with opened(folder, url, NIGHTSHIFT_HISTORY=history, **auth) as lean:
        for number in range(5):
            lean.send.apply_async((number,), countdown=3600 - number * 60)
        pages = Pages(lean)
        if not lean.services.broker.capabilities.lists_delayed:
            shown = pages.get("/delayed")
            assert "does not show which jobs wait" in shown
            assert note(history) in html.unescape(shown)
            return
        shown = pages.get("/delayed?kind=delayed")
        assert "Run all that match" in shown
        places = re.findall(r'name="place" value="([^"]*)" form="chosen"', shown)
        ids = [each.rpartition(",")[2] for each in places]
        assert len(ids) == 5
        first = delayed.page(lean.services, utcnow(), limit=3)
        second = delayed.page(lean.services, utcnow(), limit=3, after=first.after)
        assert [job.id for job in (*first.jobs, *second.jobs)] == ids
        assert second.after is None
        assert delayed.page(lean.services, utcnow(), task="no.such").jobs == []
        assert delayed.page(lean.services, utcnow(), queue="elsewhere").jobs == []
        assert "2 jobs cancelled." in followed(
            pages, pages.post("/delayed/cancel", asked="yes", id=ids[:2], place=places)
        )
        assert "1 job moved" in followed(pages, pages.post("/delayed/run", id=ids[2:3], place=places))
        assert "1 job moved" in followed(pages, pages.post("/delayed/run", id=ids[3:4]))
        assert len(delayed.page(lean.services, utcnow()).jobs) == 1
        depth = lean.services.broker.depths(["mail"])[0]
        assert (depth.ready, depth.delayed) == (2, 1)


def test_a_bulk_action_keeps_the_set_of_its_dry_run(ops: Ops) -> None:
    letters(ops.services.store, 7)
    pages = Pages(ops)
    shown = pages.get("/bulk/plan?do=replay&task=mail.send")
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', shown))
    letters(ops.services.store, 2, at=utcnow() + timedelta(seconds=1))
    fields |= {"rate": "1000", "why": "because", "token": pages._token}
    to = pages.post("/bulk/start/replay", **fields)
    assert "waiting" in pages.get(to.removeprefix("/nightshift"))
    drive(runner(ops.services))
    assert statuses(ops.services.store) == {"replayed": 7, "waiting": 2}
    assert "7 of 7 (100 %)" in pages.get(to.removeprefix("/nightshift"))
    assert "7 of 7" in pages.get("/bulk")
    assert "bulk action</a>" in pages.get("/audit?by=ada&action=replay&since=1h")
    assert len(audit.page(ops.services).actions) == 1


def test_discarded_letters_are_replayed_by_force_when_somebody_types_it(ops: Ops) -> None:
    letters(ops.services.store, 3)
    ops.ok("dead", "discard", "--all", "--yes")
    letters(ops.services.store, 2)
    pages = Pages(ops)
    shown = pages.get("/bulk/plan?do=replay&task=mail.send")
    assert "Replay 2 dead letters" in shown
    assert "Type force to confirm" not in shown
    (path,) = re.findall(r'href="/nightshift(/bulk/plan[^"]*force[^"]*)"', shown)
    shown = pages.get(unescape(path))
    assert "Replay 5 dead letters" in shown
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', shown))
    fields |= {"rate": "1000", "token": pages._token}
    assert "Type &#39;force&#39; exactly" in pages.post("/bulk/start/replay", 400, **fields)
    assert bulk.latest(ops.services) == []
    pages.post("/bulk/start/replay", **fields, confirm="force")
    drive(runner(ops.services))
    assert statuses(ops.services.store) == {"replayed": 5}
    (told,) = audit.page(ops.services, audit.Filters(action="replay")).actions
    assert (told.count, told.outcome) == (5, "done")
    assert "also discarded ones and messages that are no jobs" in told.target
    assert "Also discarded" not in pages.get("/bulk/plan?do=discard&task=mail.send")


def test_what_a_page_cannot_do_is_said(ops: Ops) -> None:
    pages = Pages(ops)
    pages.get("/queues/pause?queue=mail")
    assert "A bulk action is one of replay" in pages.get("/bulk/plan?do=explode", 400)
    assert "is not a time" in pages.get("/bulk/plan?do=replay&since=soon", 400)
    assert "is not a time" in pages.get("/audit?since=soon", 400)
    assert "cancel acts on jobs that are" in pages.get("/bulk/plan?do=cancel&q=state:dead", 400)
    assert "There is nothing to do" in pages.get("/bulk/plan?do=cancel&q=state:queued")
    assert "no bulk action" in pages.get("/bulk/action?action_id=ffffffff", 404)
    assert "no bulk action" in pages.post("/bulk/cancel", 404, action_id="ffffffff")
    every = {"everything": "yes", "total": "1"}
    for rate in ("fast", "0", "nan", "1e9"):
        assert "Rate" in pages.post("/bulk/start/discard", 400, rate=rate, **every)
    assert "not the key of a page" in pages.post("/bulk/start/discard", 400, last="x", **every)
    for verb in bulk.ACTIONS:  # a form that lost its conditions would act on all there is
        assert "names no condition" in pages.post(f"/bulk/start/{verb}", 400, q=" ", total="1")
    assert (
        'name="everything" value="yes"' in pages.get("/bulk/plan?do=cancel&q=%20")
        or not bulk.plan(ops.services, "cancel", JobFilters()).total
    )
    for digits in ("9" * 50, "0" * 20 + "9" * 30):
        assert "Not a usable number" in pages.post("/bulk/start/discard", 400, **every | {"total": digits})


def test_permissions_are_those_of_the_action(ops: Ops) -> None:
    letters(ops.services.store, 3)
    planned = bulk.plan(ops.services, "discard", Filters())
    begun = bulk.start(ops.services, planned, by="ada", rate=1 / 3600)
    eve = Pages(ops, "eve: view")
    assert "Cancel the rest" not in eve.get(f"/bulk/action?action_id={begun.id}")
    eve.get("/queues")
    assert "need the permission" in eve.get("/bulk/plan?do=discard", 403)
    assert "view_args" in Pages(ops, "mia: view cancel").get("/bulk/plan?do=cancel&q=secret", 403)
    dan = Pages(ops, "dan: view discard")
    assert "Cancel the rest" in dan.get(f"/bulk/action?action_id={begun.id}")
    asked = dan.post("/bulk/cancel", 200, action_id=begun.id)
    assert "What is done stays done" in asked
    assert bulk.find(ops.services, begun.id).state == "waiting"
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', asked))
    dan.post("/bulk/cancel", **fields, why="too many")
    assert bulk.find(ops.services, begun.id).state == "cancelled"
    (row, *_) = audit.page(ops.services).actions
    assert (row.action, row.why) == ("cancel", "too many")
