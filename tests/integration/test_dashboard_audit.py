"""What the audit and the reader learn of an action of the dashboard that fails, or whose process is killed."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask import Request

from bulks import letters
from flask_nightshift import Actor
from flask_nightshift.domain.actor import PERMISSIONS
from flask_nightshift.observe import audit
from flask_nightshift.store import audit as rows
from opsapp import Ops, opened
from servers import Server, free_port, wait_for
from system import running

ADA = {"X-Actor": "ada", "Sec-Fetch-Site": "same-origin"}


def who(request: Request) -> Actor | None:
    name, colon, permissions = request.headers.get("X-Actor", "").partition(":")
    return Actor(name, frozenset(permissions.split() if colon else PERMISSIONS)) if name else None


@pytest.fixture
def ops(tmp_path: Path) -> Iterator[Ops]:
    """An app whose broker is away."""
    config: dict[str, Any] = {"NIGHTSHIFT_DASHBOARD_AUTH": who, "SECRET_KEY": "k"}
    with opened(tmp_path, f"redis://127.0.0.1:{free_port()}/0", **config) as made:
        made.services.store.migrate()
        yield made


def post(ops: Ops, path: str, **fields: Any) -> tuple[int, str]:
    client = ops.app.test_client()
    page = client.get("/nightshift/queues/pause?queue=mail", headers=ADA).text
    found = re.search(r'name="token" value="(\w+)"', page)
    assert found is not None
    answer = client.post(f"/nightshift{path}", data={"token": found[1], **fields}, headers=ADA)
    return answer.status_code, answer.text


@pytest.mark.parametrize(
    ("path", "fields", "action", "target"),
    [
        ("/queues/purge/now", {"queue": "mail", "confirm": "mail"}, "purge", "queue mail"),
        ("/jobs/cancel", {"job_id": "0" * 32, "asked": "yes"}, "cancel", f"job {'0' * 32}"),
        ("/jobs/run-now", {"job_id": "0" * 32, "queue": "mail"}, "run", f"job {'0' * 32}"),
        ("/delayed/run", {"id": ["0" * 32, "1" * 32]}, "run", f"jobs {'0' * 32}, {'1' * 32}"),
        ("/schedules/run", {"name": "nightshift.prune"}, "run", "entry nightshift.prune"),
        ("/locks/release", {"key": "mail.send:secret@example.com"}, "release", "lock of mail.send"),
    ],
)
def test_an_action_that_fails_says_on_what(
    ops: Ops, path: str, fields: dict[str, Any], action: str, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    status, said = post(ops, path, why="because", **fields)
    assert status == 503, said
    (row,) = audit.page(ops.services).actions
    assert (row.action, row.target, row.why, row.outcome) == (action, target, "because", "failed")
    assert "secret@example.com" not in f"{row}{caplog.text}"


def test_the_reader_and_the_audit_learn_what_was_done_before_the_error(ops: Ops) -> None:
    letters(ops.services.store, 2)
    ids = [letter["id"] for letter in ops.json("dead", "list")]
    status, said = post(ops, "/letters/replay", id=ids)
    assert (status, "0 of 2 dead letters had been replayed before" in said) == (503, True), said
    (row,) = audit.page(ops.services).actions
    assert (row.count, row.outcome) == (0, "failed")
    assert "0 of 2 dead letters had been replayed before" in (row.error or "")


def test_an_action_whose_web_process_is_killed_stays_begun(tmp_path: Path, valkey: Server) -> None:
    with running(tmp_path, valkey.fresh_url(), FLASK_APP="dashapp") as system, system.store() as store:
        web = system.web()
        assert system.http is not None
        base = f"{system.http.base_url}/nightshift"
        with httpx.Client(headers=ADA, timeout=60) as browser:
            page = browser.get(f"{base}/queues/purge?queue=mail").text
            token = re.search(r'name="token" value="(\w+)"', page)
            assert token is not None
            form = {"token": token[1], "queue": "mail", "confirm": "mail", "why": "called off"}
            valkey.freeze()

            def purge() -> None:
                with pytest.raises(httpx.HTTPError):
                    browser.post(f"{base}/queues/purge/now", data=form)

            asked = threading.Thread(target=purge)
            asked.start()
            try:
                wait_for(lambda: rows.latest(store, limit=1), 30, "the purge does not begin")
                web.kill_tree()
            finally:
                valkey.thaw()
                asked.join()
        (row,) = rows.latest(store, limit=2)
        assert (row.by, row.action, row.target, row.why) == ("ada", "purge", "queue mail", "called off")
        assert (row.outcome, row.ended_at) == ("begun", None)
