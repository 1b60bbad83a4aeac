"""Every page while the broker or the database hangs: it answers within seconds, and says what cannot be reached."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from bulks import letters, warm
from flask_nightshift import Actor
from flask_nightshift.domain.actor import PERMISSIONS
from flask_nightshift.observe import incidents
from flask_nightshift.observe.jobs import Filters as JobFilters
from flask_nightshift.operations import bulk
from flask_nightshift.web.dashboard import routing
from flask_nightshift.web.dashboard.routing import ROUTES, Kind
from opsapp import Ops, opened
from servers import Server

SECONDS = 5.0
"""In which a page answers, besides the time that it takes on this machine when all is well."""
AT_ONCE = 4
"""Pages that are asked at the same time."""
FROM_THE_BROKER = {"ask_purge", "locks"}
"""Pages that show nothing but what the broker knows; with Redis and Valkey."""
WITHOUT_DATABASE = {"overview", "tasks", "queues", "ask_pause", "ask_purge", "locks", "ask_to_release"}
"""Pages that need no database, or show what they found before; the broker has the locks in Redis and Valkey."""


@dataclass(frozen=True)
class Shown:
    status: int
    text: str
    seconds: float


class Site:
    """The pages of an app that has something to show on each of them."""

    def __init__(self, ops: Ops) -> None:
        self._ops = ops
        letters(ops.services.store, 3)
        ops.send.apply_async((1,), countdown=3600)
        job_id = ops.send.delay(2).id
        ops.flush()
        ops.all_well()
        planned = bulk.plan(ops.services, "cancel", JobFilters(queue="none")), "ann"
        action = bulk.start(ops.services, planned[0], by=planned[1])
        (cause,) = incidents.incidents(ops.services, incidents.Wanted(), 1).found
        values: dict[str, dict[str, str]] = {
            "odd_job": {"job_id": job_id},
            "incident": {"fingerprint": cause.fingerprint},
            "check_letters": {"do": "replay", "id": cause.example or ""},
            "letter": {"letter_id": cause.example or ""},
            "edit_letter": {"letter_id": cause.example or ""},
            "copy_job": {"job_id": cause.example or ""},
            "schedule": {"name": "nightly"},
            "ask_pause": {"queue": "mail"},
            "ask_purge": {"queue": "mail"},
            "ask_to_release": {"key": "nobody"},
            "bulk_plan": {"do": "cancel", "q": "queue:mail"},
            "bulk_action": {"action_id": action.id},
        }
        routing.table()
        pages = [route for route in ROUTES.values() if route.kind is Kind.PAGE]
        self.paths = {
            route.name: f"{re.sub(r'<[^>]+>', job_id, route.rule)}?{urlencode(values.get(route.name, {}))}"
            for route in pages
        }

    def walk(self) -> dict[str, Shown]:
        """All pages, as a browser asks for them and as an open page asks again."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = pool.map(lambda path: (self._get(path), self._get(path, again=True)), self.paths.values())
        shown: dict[str, Shown] = {}
        for name, (first, again) in zip(self.paths, found, strict=True):
            assert {first.status, again.status} <= {first.status, 200, 204, 304}, (name, first, again)
            shown[name] = Shown(first.status, first.text, max(first.seconds, again.seconds))
        return shown

    def _get(self, path: str, *, again: bool = False) -> Shown:
        headers = {"Sec-Fetch-Site": "same-origin"} | ({"HX-Request": "true"} if again else {})
        began = time.monotonic()
        answer = self._ops.app.test_client().get(f"/nightshift{path}", headers=headers)
        return Shown(answer.status_code, answer.text, time.monotonic() - began)


@contextmanager
def site(folder: Path, broker: Server, database: Server | None) -> Iterator[Site]:
    config: dict[str, Any] = {
        "NIGHTSHIFT_DASHBOARD_AUTH": lambda _: Actor("ada", frozenset(PERMISSIONS)),
        "NIGHTSHIFT_SCHEDULE": {"nightly": {"task": "mail.send", "schedule": 3600}},
        "SECRET_KEY": "k",
    }
    if database is not None:
        config["NIGHTSHIFT_DATABASE_URL"] = database.fresh_url()
    with opened(folder, broker.fresh_url(), **config) as ops:
        warm(ops)
        yield Site(ops)


def compare(well: dict[str, Shown], away: dict[str, Shown], refused: set[str], said: str) -> None:
    for name, shown in away.items():
        assert shown.seconds < SECONDS + 3 * well[name].seconds, (name, shown.seconds, well[name].seconds)
        assert shown.status in (200, 503), (name, shown.status, shown.text[-500:])
        assert "<h1" in shown.text, (name, shown.text[-500:])
        if shown.status == 503:
            assert said in shown.text, (name, shown.text[-500:])
    assert {name for name, shown in away.items() if shown.status == 503} == refused


@pytest.mark.parametrize("kind", ["valkey", pytest.param("rabbitmq", marks=pytest.mark.thorough)])
def test_every_page_answers_while_the_broker_hangs(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    broker: Server = request.getfixturevalue(kind)
    with site(tmp_path, broker, None) as pages:
        well = pages.walk()
        assert {shown.status for shown in well.values()} <= {200, 404}, well
        broker.freeze()
        try:
            away = pages.walk()
        finally:
            broker.thaw()
        locks = FROM_THE_BROKER if kind == "valkey" else {"ask_purge"}
        compare(well, away, locks, "The broker cannot be reached")
        assert "nothing is late" not in away["overview"].text
        assert "the broker does not answer" in away["overview"].text
        assert "is not known whether more wait" in away["letters"].text
        assert "Some numbers are not known now" in away["queues"].text
        assert ">empty<" not in away["queues"].text


def test_every_page_answers_while_the_database_hangs(
    valkey: Server, postgres: Server, tmp_path: Path
) -> None:
    with site(tmp_path, valkey, postgres) as pages:
        well = pages.walk()
        postgres.freeze()
        try:
            away = pages.walk()
        finally:
            postgres.thaw()
        compare(well, away, {*pages.paths} - WITHOUT_DATABASE, "The history cannot be reached")
        assert "workers healthy" not in away["overview"].text
        assert "Some numbers are not known now" in away["queues"].text
