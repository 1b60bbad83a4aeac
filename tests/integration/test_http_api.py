"""The HTTP API on real brokers and databases: closed by default, what each route does, and how errors look."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response
from flask_wtf import CSRFProtect
from openapi_spec_validator import validate

from api_client import PREFIX, Api
from flask_nightshift import Nightshift
from flask_nightshift.domain.actor import PERMISSIONS
from flask_nightshift.domain.events import JobStarted, JobSucceeded
from flask_nightshift.domain.job import JobRef, utcnow
from flask_nightshift.errors import BrokerUnavailable
from flask_nightshift.operations import locks, schedule
from flask_nightshift.text.passwords import HIDDEN
from flask_nightshift.web.api import reading, routing
from opsapp import Ops, opened, publishes
from servers import wait_for

PLACES = [
    ("valkey", "sqlite"),
    pytest.param(("rabbitmq", "postgres"), marks=[pytest.mark.postgres, pytest.mark.rabbitmq]),
]
SCHEDULE = {
    "a/b nightly": {
        "task": "mail.send",
        "schedule": "0 3 1 1 *",
        "args": [1],
        "kwargs": {"password": "s3cret"},
    },
    "plain": {"task": "mail.send", "schedule": "0 3 1 1 *"},
}


@pytest.fixture(scope="module", params=PLACES, ids="-".join)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ops]:
    broker, database = request.param
    folder = tmp_path_factory.mktemp("api")
    url = f"sqlite:///{folder}/history.sqlite3"
    if database == "postgres":
        url = request.getfixturevalue("postgres").fresh_url()
    settings: dict[str, Any] = {"NIGHTSHIFT_DATABASE_URL": url, "NIGHTSHIFT_SCHEDULE": SCHEDULE}
    with opened(folder, request.getfixturevalue(broker).fresh_url(), **settings) as made:
        wait_for(lambda: publishes(made), 60, "the broker takes no job")
        yield made


@pytest.fixture
def ops(place: Ops) -> Ops:
    """The one of the module, without jobs, dead letters and locks."""
    place.services.broker.purge("mail")
    for lock in locks.held(place.services, 10):
        locks.release(place.services, lock.key)
    place.ok("dead", "discard", "--all", "--yes")
    return place


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Ops]:
    """Without a broker, for what needs none."""
    settings: dict[str, Any] = {
        "NIGHTSHIFT_DATABASE_URL": f"sqlite:///{tmp_path}/history.sqlite3",
        "TESTING": True,
    }
    with opened(tmp_path, "memory://", **settings) as made:
        yield made


def test_it_is_closed_to_everybody_without_a_token(quiet: Ops) -> None:
    client = quiet.app.test_client()
    addresses = [each.rule for each in routing.routes().values()] + ["/nothing", "/", "/jobs/x/y/z"]
    for path in addresses:
        for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic eDp5"}):
            answer = client.get(PREFIX + path, headers=headers)
            assert (answer.status_code, answer.content_type) == (401, "application/problem+json"), path
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    api = Api(quiet.app)
    token = api.made.text
    client.set_cookie("session", token)
    client.set_cookie("Authorization", f"Bearer {token}")
    assert client.get(f"{PREFIX}/me?token={token}").status_code == 401
    assert api.get("/me")["name"] == api.name
    assert quiet.ok("token", "revoke", api.made.token.id)
    assert api("GET", "/me", 401)["code"] == "unauthorized"


@pytest.mark.parametrize("permission", PERMISSIONS)
def test_a_token_allows_what_its_scopes_say(quiet: Ops, permission: str) -> None:
    api = Api(quiet.app, permission)
    for route in routing.routes().values():
        path = re.sub(r"<.*?>", "x", route.rule)
        answer = api.ask(route.method, path, json={"no": 1} if route.acts else None)
        lacks = [each for each in (route.permission, route.also) if each not in (None, "", permission)]
        refused = bool(lacks)
        assert (answer.status_code == 403) == refused, (route.name, answer.text)
        if refused:
            assert repr(lacks[0]) in answer.json["detail"]


def test_errors_are_problems(quiet: Ops) -> None:
    api = Api(quiet.app)
    said = api("GET", "/nothing", 404)
    assert said == {
        "type": "urn:nightshift:not-found",
        "title": "There is no such thing",
        "status": 404,
        "code": "not-found",
        "detail": "openapi.json lists all addresses",
    }
    assert "GET" in api.ask("DELETE", "/jobs").headers["Allow"]
    for method in ("DELETE", "OPTIONS", "TRACE", "WHATEVER"):
        assert api(method, "/jobs", 405)["code"] == "method-not-allowed"
    assert api("GET", "/jobs/no-such-job", 404)["code"] == "job-not-found"
    assert "'limit'" in api("GET", "/jobs?limit=1&limit=2", 422)["detail"]
    for path in ("/jobs", "/dead-letters", "/audit"):
        api("GET", f"{path}?after=0001-01-01T00:00:00%2B23:59,x", 422)
    assert "`zz`" in api("GET", "/jobs?zz=1", 422)["detail"]
    assert "'zz'" in api("GET", "/me?zz=1", 422)["detail"]
    assert "did you mean state" in api("GET", "/jobs?q=status:dead", 422)["detail"]
    assert "since" in api("GET", "/jobs?since=soon", 422)["detail"]
    release = "/locks/release"
    assert api("POST", release, 400, data="{", content_type="application/json")["code"] == "malformed"
    assert api("POST", release, 400, data=b'{"key": "\xff"}', content_type="application/json")
    assert api("POST", release, 400, data="[" * 100_000, content_type="application/json")
    assert api("POST", release, 415, data="key=x", content_type="application/x-www-form-urlencoded")
    assert "`key`" in api("POST", release, 422, json={})["detail"]
    assert "`kye`" in api("POST", release, 422, json={"kye": "x"})["detail"]
    assert api("POST", release, 413, data=b" " * (reading.MOST_BYTES + 1), content_type="application/json")
    assert "takes no body" in api("GET", "/jobs", 422, data="{}")["detail"]
    assert quiet.app.test_client().head(f"{PREFIX}/me", headers=api.headers).status_code == 200


def test_the_document_is_valid_and_has_every_route(quiet: Ops) -> None:
    document = Api(quiet.app, "view").get("/openapi.json")
    validate(document)
    described = {each["operationId"] for path in document["paths"].values() for each in path.values()}
    assert described == set(routing.routes())
    (server,) = document["servers"]
    assert server["url"] == PREFIX
    for path in document["paths"].values():
        for each in path.values():
            assert each["summary"].endswith((".", "."))
            assert "401" in each["responses"]


def test_arguments_are_shown_with_view_args_only(ops: Ops) -> None:
    ops.bury()
    ops.flush()
    (letter,) = Api(ops.app, "view").get("/dead-letters")["dead_letters"]
    assert (letter["args"], letter["kwargs"]) == ("***", "***")
    blind, seeing = Api(ops.app, "view"), Api(ops.app, "view", "view_args")
    for path in ("/jobs/" + letter["job_id"], "/dead-letters/" + letter["id"]):
        assert blind.get(path)["args"] == "***"
        assert seeing.get(path)["args"] == ("(7,)" if path.startswith("/jobs") else "[7]")
    assert {job["args"] for job in blind.get("/jobs")["jobs"]} <= {"***", None}
    for query in ({"search": "(7,)"}, {"q": "(7,)"}):  # an answer would tell what is in the arguments
        assert blind("GET", "/jobs", 403, query_string=query)["code"] == "forbidden"
        assert seeing.get("/jobs", **query)["jobs"]
    entry = next(each for each in blind.get("/schedule")["entries"] if each["name"] == "a/b nightly")
    assert (entry["args"], entry["kwargs"], entry["options"]) == ("***", "***", "***")
    shown = seeing.get("/schedule/a/b nightly")
    assert shown["args"] == "[1]"
    assert "s3cret" not in str(shown)


def test_pages_have_everything_once(ops: Ops) -> None:
    mine = {ops.bury() for _ in range(5)}
    ops.flush()
    api = Api(ops.app)
    for path, name in (("/jobs", "jobs"), ("/dead-letters", "dead_letters")):
        found: list[str] = []
        after: dict[str, str] = {}
        while True:
            page = api.get(path, limit=2, **after)
            found += [each.get("job_id") or each["id"] for each in page[name]]
            if page["after"] is None:
                break
            after = {"after": page["after"]}
        assert len(found) == len(set(found))
        assert mine <= set(found)
    assert mine <= {job["id"] for job in api.get("/jobs", q="state:dead", task="mail.*")["jobs"]}
    assert "state is given twice" in api("GET", "/jobs?q=state:dead&state=dead", 422)["detail"]


def test_actions_do_what_they_say_and_are_recorded(ops: Ops) -> None:
    api = Api(ops.app)
    dead = [ops.bury() for _ in range(3)]
    both = {"reason": "a test", "why": "another"}
    assert "not both" in api("POST", "/queues/mail/pause", 422, json=both)["detail"]
    api.post("/queues/mail/pause", why="a test")
    (mail,) = [each for each in api.get("/queues")["queues"] if each["queue"] == "mail"]
    assert mail["pause"]["by"] == api.name
    assert api.post("/queues/mail/resume")["before"]["reason"] == "a test"

    planned = api.post("/dead-letters/replay", ids=dead[:2], dry_run=True)
    assert len(planned["ids"]) == 2
    assert depth(ops) == 0
    done = api.post("/dead-letters/replay", ids=dead[:2], why="fixed")
    assert (sorted(done["ids"]), done["queues"], done["unheard"]) == (
        sorted(planned["ids"]),
        ["mail"],
        ["mail"],
    )
    again = api.post("/dead-letters/replay", ids=dead[:2])
    assert (again["ids"], len(again["skipped"])) == ([], 2)
    assert depth(ops) == 2
    assert len(api.post("/dead-letters/discard", ids=dead[2:])["ids"]) == 1
    assert api.get("/dead-letters")["dead_letters"] == []
    letters = api.get("/dead-letters", status="any")["dead_letters"]
    assert {each["status"] for each in letters if each["job_id"] in dead} == {"replayed", "discarded"}
    assert (
        api("POST", "/dead-letters/replay", 404, json={"ids": ["nothing"]})["code"] == "dead-letter-not-found"
    )

    assert api("POST", "/queues/mail/purge", 422, json={"confirm": "no"})["code"] == "not-confirmed"
    assert depth(ops) == 2
    assert api.post("/queues/mail/purge", confirm="mail") == {"queue": "mail", "deleted": 2}

    with ops.app.app_context():
        job_id = ops.send.delay(1).id
    ops.flush()
    removed = api.post(f"/jobs/{job_id}/cancel", why="a test")["removed"]
    assert removed == ops.services.broker.capabilities.lists_delayed  # else a worker drops it
    api("POST", f"/jobs/{job_id}/cancel", 409 if removed else 200)

    with ops.app.app_context():
        held = ops.send.apply_async((2,), unique="until_done", unique_key="k").id
    (lock,) = api.get("/locks")["locks"]
    assert lock["job_id"] == held
    limited = Api(ops.app, "view", "run")
    assert limited.get("/locks")["locks"][0]["key"] == HIDDEN  # a key may contain arguments
    assert "view_args" in limited("POST", "/locks/release", 403, json={"key": lock["key"]})["detail"]
    assert api.post("/locks/release", key=lock["key"])["job_id"] == held
    assert api("POST", "/locks/release", 404, json={"key": lock["key"]})["code"] == "lock-not-found"

    recorded = api.get("/audit", by=api.name)["actions"][::-1]
    assert [(each["action"], each["count"], each["outcome"]) for each in recorded] == [
        ("pause", 1, "done"), ("resume", 1, "done"), ("replay", 2, "done"), ("replay", 0, "done"),
        ("discard", 1, "done"), ("purge", 2, "done"), ("cancel", 1, "done"),
        ("cancel", None, "failed") if removed else ("cancel", 1, "done"),
        ("release", 1, "done"), ("release", None, "failed"),
    ]  # fmt: skip
    assert [each["why"] for each in recorded[:3]] == ["a test", None, "fixed"]
    assert recorded[-2]["target"] == "lock of mail.send"


def test_incidents_and_actions_on_all_that_match(ops: Ops) -> None:
    api = Api(ops.app)
    for _ in range(3):
        ops.bury(text="one cause")
    ops.flush()
    (incident, *_) = api.get("/incidents")["incidents"]
    assert incident["waiting"] == 3
    assert api.get("/incidents/" + incident["fingerprint"])["task"] == "mail.send"
    chosen = {"fingerprint": incident["fingerprint"]}
    assert api.post("/actions/replay", **chosen, dry_run=True) == {"total": 3, "dry_run": True, "bulk": None}
    assert "not both" in api("POST", "/actions/discard", 422, json={})["detail"]
    started = api.post("/actions/replay", **chosen, why="fixed")["bulk"]
    assert (started["total"], started["by"], started["why"]) == (3, api.name, "fixed")
    assert api.get("/actions/" + started["id"])["action"] == "replay"
    assert Api(ops.app, "view")("POST", f"/actions/{started['id']}/stop", 403)["code"] == "forbidden"
    Api(ops.app, "view", "cancel").post(f"/actions/{started['id']}/stop", why="too many")
    (stopped, *_) = api.get("/audit", limit=1)["actions"]
    assert (stopped["action"], stopped["target"]) == ("cancel", f"bulk action {started['id']}")
    assert (stopped["why"], stopped["count"]) == ("too many", 1)
    assert api("POST", f"/actions/{started['id']}/stop", 409)["code"] == "action-ended"
    assert started["id"] in [each["id"] for each in api.get("/actions")["actions"]]
    assert api.post("/actions/cancel", q="state:queued task:none", dry_run=True)["total"] == 0


def test_how_bulk_actions_are_done(ops: Ops) -> None:
    api = Api(ops.app)
    ops.bury()
    ops.flush()
    assert (
        "nightshift."
        in api("POST", "/actions/replay", 422, json={"everything": True, "queue": "nightshift.x"})["detail"]
    )
    started = api.post("/actions/replay", everything=True, queue="elsewhere", force=True)["bulk"]
    assert started["options"] == {"queue": "elsewhere", "force": True}
    api.post(f"/actions/{started['id']}/stop")
    with ops.app.app_context():
        ops.send.delay(1)
    ops.flush()
    started = api.post("/actions/cancel", q="state:queued", kill=True)["bulk"]
    assert started["options"] == {"kill": True}
    api.post(f"/actions/{started['id']}/stop")
    assert (
        "`queue`"
        in api("POST", "/actions/discard", 422, json={"everything": True, "queue": "mail"})["detail"]
    )


def test_an_action_on_all_jobs_has_to_say_so(ops: Ops) -> None:
    api = Api(ops.app)
    with ops.app.app_context():
        ops.send.apply_async((1,), countdown=3600)
    ops.flush()
    verbs = ("cancel", "run") if ops.services.broker.capabilities.lists_delayed else ("cancel",)
    for verb in verbs:
        for body in ({}, {"q": ""}, {"q": " "}, {"q": "state:queued", "everything": True}):
            said = api("POST", f"/actions/{verb}", 422, json=body)["detail"]
            assert "everything: true, and not both" in said
        assert api.post(f"/actions/{verb}", everything=True, dry_run=True)["total"] >= 1
    assert "jobs" not in [row["target"] for row in api.get("/audit", limit=5)["actions"]]


def test_the_text_of_a_search_is_for_those_who_may_see_arguments(ops: Ops) -> None:
    api, eve = Api(ops.app), Api(ops.app, "view")
    started = api.post("/actions/cancel", q="ada@example.com task:mail.send")["bulk"]
    assert started["filters"]["search"] == ["ada@example.com"]
    (row,) = eve.get("/audit", limit=1)["actions"]
    assert row["target"] == "jobs with task=mail.send search=***"
    path = f"/actions/{started['id']}"
    assert api.get(path)["filters"]["search"] == ["ada@example.com"]
    for shown in (eve.get(path), eve.get("/actions", limit=1)["actions"][0]):
        assert shown["filters"] == {"task": "mail.send", "search": "***"}
    api.post(f"{path}/stop")


def test_edit_alone_changes_and_does_not_replay(ops: Ops) -> None:
    dead = ops.bury()
    ops.flush()
    args = Api(ops.app).get(f"/jobs/{dead}/arguments")["args"]
    blind, editor = Api(ops.app, "view", "edit"), Api(ops.app, "view", "view_args", "edit")
    for path in (f"/dead-letters/{dead}/replay-changed", f"/jobs/{dead}/copy-changed"):
        assert "view_args" in blind("POST", path, 403, json={"args": [5]})["detail"]
        assert "change one" in editor("POST", path, 422, json={"args": args})["detail"]
    assert ops.letter(dead)["status"] == "waiting"
    assert Api(ops.app).post(f"/jobs/{dead}/copy-changed", args=args)["changed"] is False
    assert editor.post(f"/dead-letters/{dead}/replay-changed", args=[5])["ids"]


def test_a_changed_replay(ops: Ops) -> None:
    api, dead = Api(ops.app), ops.bury()
    ops.flush()
    path = f"/dead-letters/{dead}/replay-changed"
    shown = api.get(f"/jobs/{dead}/arguments")
    assert (shown["task"], shown["queue"], shown["said"]) == ("mail.send", "mail", [])
    assert shown["args"] is not None
    assert Api(ops.app, "view", "edit")("GET", f"/jobs/{dead}/arguments", 403)["code"] == "forbidden"
    assert Api(ops.app, "view", "replay")("POST", path, 403, json={"args": [1]})["code"] == "forbidden"
    assert "/dead-letters/replay" in api("POST", path, 422, json={})["detail"]
    refused = api("POST", path, 422, json={"kwargs": {"no_such_parameter": 1}})
    assert (refused["code"], "no_such_parameter" in refused["detail"]) == ("arguments-refused", True)
    assert api("POST", path, 422, json={"args": [9], "queue": "a b"})["code"] == "invalid-value"
    assert depth(ops) == 0

    done = api.post(path, args=[9], queue="elsewhere", why="the right account")
    assert (len(done["ids"]), done["skipped"], done["queues"]) == (1, {}, ["elsewhere"])
    assert depth(ops, "elsewhere") == 1
    (letter,) = [
        each for each in api.get("/dead-letters", status="any")["dead_letters"] if each["job_id"] == dead
    ]
    assert (letter["status"], letter["new_args"]) == ("replayed", "[9]")
    again = api.post(path, args=[10])
    assert (again["ids"], len(again["skipped"])) == ([], 1)
    recorded = api.get("/audit", by=api.name, action="edit")["actions"]
    assert [(each["outcome"], each["count"]) for each in recorded] == [
        ("done", 0), ("done", 1), ("failed", None), ("failed", None),
    ]  # fmt: skip
    assert recorded[1]["why"] == "the right account"
    ops.services.broker.purge("elsewhere")


def test_copies(ops: Ops) -> None:
    api, dead = Api(ops.app), ops.bury()
    ops.flush()
    key = {"Idempotency-Key": "copy"}
    made = api("POST", f"/jobs/{dead}/copy", headers=key, json={"why": "once more"})
    assert (made["original_id"], made["queue"], made["changed"]) == (dead, "mail", False)
    assert api("POST", f"/jobs/{dead}/copy", headers=key, json={"why": "once more"}) == made
    assert depth(ops) == 1
    changed = api.post(f"/jobs/{dead}/copy-changed", args=[9], queue="elsewhere")
    assert (changed["changed"], depth(ops, "elsewhere")) == (True, 1)
    ops.flush()
    assert set(api.get(f"/jobs/{dead}")["copies"]) == {made["job_id"], changed["job_id"]}
    assert Api(ops.app, "view", "edit")("POST", f"/jobs/{dead}/copy", 403)["code"] == "forbidden"
    assert Api(ops.app, "view", "run")("POST", f"/jobs/{dead}/copy-changed", 403)["code"] == "forbidden"
    assert "/copy" in api("POST", f"/jobs/{dead}/copy-changed", 422, json={})["detail"]
    assert api("POST", f"/jobs/{made['job_id']}/copy", 409)["code"] == "message-not-kept"
    assert api("POST", "/jobs/no-such-job/copy", 404)["code"] == "job-not-found"
    recorded = api.get("/audit", by=api.name)["actions"][::-1]
    assert [(each["action"], each["outcome"]) for each in recorded] == [
        ("run", "done"), ("edit", "done"), ("run", "failed"), ("run", "failed"),
    ]  # fmt: skip
    assert (recorded[0]["why"], made["job_id"] in recorded[0]["target"]) == ("once more", True)
    ops.services.broker.purge("elsewhere")


def test_the_verdict_and_the_trend_of_the_overview(ops: Ops) -> None:
    api = Api(ops.app, "view")
    with ops.app.app_context():
        job_id = ops.send.delay(1).id
    now = utcnow()
    job = JobRef(job_id, "mail.send", "mail", 1)
    ops.services.events.emit(JobStarted(job, now, "hand@test"))
    ops.services.events.emit(JobSucceeded(job, now, "hand@test", 0.1))
    ops.flush()
    verdict = api.get("/overview/verdict")
    assert (verdict["tone"], verdict["sentence"]) == ("bad", "No worker runs, so no job begins.")
    assert verdict["sentence"] in [each["sentence"] for each in verdict["troubles"]]
    for period, steps in (("hour", 60), ("day", 144), ("month", 120)):
        trend = api.get("/overview/trend", period=period)
        assert (trend["period"], len(trend["points"])) == (period, steps)
        assert trend["whole"]["succeeded"] == sum(point["succeeded"] for point in trend["points"]) >= 1
    assert api.get("/overview/trend")["period"] == "hour"
    assert "hour" in api("GET", "/overview/trend?period=week", 422)["detail"]


def depth(ops: Ops, queue: str = "mail") -> int:
    return int(ops.services.broker.depths([queue])[0].ready)


def test_a_delayed_job_runs_now(ops: Ops) -> None:
    api = Api(ops.app)
    with ops.app.app_context():
        job_id = ops.send.apply_async((1,), countdown=3600).id
    if not ops.services.broker.capabilities.lists_delayed:
        assert api("GET", "/delayed", 409)["code"] == "unsupported"
        assert api("POST", f"/jobs/{job_id}/run-now", 409)["code"] == "unsupported"
        return
    assert job_id in [job["job_id"] for job in api.get("/delayed")["jobs"]]
    assert api.post(f"/jobs/{job_id}/run-now") == {"job_id": job_id, "queue": "mail"}
    assert depth(ops) == 1
    assert api("POST", f"/jobs/{job_id}/run-now", 404)["code"] == "job-not-delayed"


def test_delayed_jobs_have_pages(ops: Ops) -> None:
    api = Api(ops.app)
    at = utcnow() + timedelta(hours=2)
    with ops.app.app_context():
        sent = [
            ops.send.apply_async((number,), eta=at + timedelta(minutes=number // 3)).id for number in range(8)
        ]
    ops.flush()
    lists = ops.services.broker.capabilities.lists_delayed
    path, name = ("/delayed", "job_id") if lists else ("/due", "id")
    if not lists:
        assert "GET /due" in api("GET", "/delayed", 409)["detail"]
    found: list[str] = []
    after: dict[str, str] = {}
    for _ in range(10):
        page = api.get(path, queue="mail", limit=3, **after)
        assert len(page["jobs"]) <= 3
        found += [job[name] for job in page["jobs"]]
        if page["after"] is None:
            break
        after = {"after": page["after"]}
    assert [job_id for job_id in found if job_id in sent] == [
        *sorted(sent[:3]), *sorted(sent[3:6]), *sorted(sent[6:])
    ]  # fmt: skip
    for wrong in ("x", ",x"):
        if lists:
            assert api("GET", "/delayed", 422, query_string={"after": wrong})["code"] == "invalid-key"


def test_the_schedule_is_steered(ops: Ops) -> None:
    api, entry = Api(ops.app), "/schedule/plain"
    key = {"Idempotency-Key": "once"}
    first = api("POST", f"{entry}/run-now", headers=key)
    second = api.ask("POST", f"{entry}/run-now", headers=key)
    assert second.json == first
    assert second.headers["Idempotency-Replayed"] == "true"
    assert depth(ops) == 1
    assert api("POST", f"{entry}/pause", 422, headers=key)["code"] == "key-reused"
    assert api("POST", f"{entry}/run-now", 422, headers={"Idempotency-Key": ""})["code"] == "invalid-header"
    api("POST", f"{entry}/run-now", headers={"Idempotency-Key": "other"})
    Api(ops.app)("POST", f"{entry}/run-now", headers=key)  # a key belongs to a token
    assert depth(ops) == 3
    for _ in range(2):  # an error is not remembered
        assert (
            api("POST", "/schedule/none/run-now", 404, headers={"Idempotency-Key": "e"})["code"]
            == "entry-not-found"
        )
    wrong = api("POST", "/schedule/a/b nightly/run-now", 422)
    assert "password" in wrong["detail"]
    assert "s3cret" not in wrong["detail"]
    assert api.post(f"{entry}/pause")["paused_at"]
    assert api.get(entry)["paused_by"] == api.name
    assert api.post(f"{entry}/resume") == {"entry": "plain", "resumed": True}
    assert "nothing-to-skip" in str(api("POST", f"{entry}/skip-next", 409))


def test_an_outage_is_a_503_and_what_it_cut_off_is_not_repeated(
    ops: Ops, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, key = Api(ops.app), {"Idempotency-Key": "k"}
    with ops.services.store.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE nightshift_tokens RENAME TO away")
    answer = api.ask("GET", "/jobs")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "sqlite" not in answer.text
    assert "nightshift_tokens" not in answer.text
    with ops.services.store.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO nightshift_tokens")

    def away(*_: Any) -> str:
        raise BrokerUnavailable("redis://:secret@host is away")

    monkeypatch.setattr(schedule, "run_now", away)
    answer = api.ask("POST", "/schedule/plain/run-now", headers=key)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "secret" not in answer.text
    monkeypatch.undo()
    answer = api.ask("POST", "/schedule/plain/run-now", headers=key)
    assert (answer.status_code, answer.json["code"]) == (409, "outcome-unknown")
    assert api("POST", "/schedule/plain/run-now", headers={"Idempotency-Key": "another"})["job_id"]


class TestGuest:
    @pytest.mark.parametrize("first", [True, False])
    def test_beside_csrf_protect(self, tmp_path: Path, first: bool) -> None:
        app = self.app(tmp_path)
        if first:
            CSRFProtect(app)
        Nightshift(app)
        if not first:
            CSRFProtect(app)

        @app.post("/theirs")
        def theirs() -> str:
            return "done"

        app.extensions["nightshift"].store.migrate()
        assert Api(app).post("/queues/mail/pause")["queue"] == "mail"
        assert app.test_client().post("/theirs").status_code == 400

    def test_below_a_path_of_the_server(self, tmp_path: Path) -> None:
        app = self.app(tmp_path)
        Nightshift(app)
        app.extensions["nightshift"].store.migrate()
        document = Api(app)("GET", "/openapi.json", environ_overrides={"SCRIPT_NAME": "/shop"})
        assert document["servers"] == [{"url": "/shop" + PREFIX}]

    def test_a_route_of_the_app_and_its_handlers_stay(self, tmp_path: Path) -> None:
        app = self.app(tmp_path)
        Nightshift(app)
        app.extensions["nightshift"].store.migrate()

        @app.get("/nightshift/api/v1/me")
        def mine() -> str:
            return "mine"

        @app.errorhandler(404)
        def theirs(_: Exception) -> Response:
            return Response("theirs", 404)

        api = Api(app)
        assert api.ask("GET", "/me").text == "mine"
        assert api("GET", "/nothing", 404)["code"] == "not-found"
        assert app.test_client().get("/nothing").text == "theirs"

    def test_off(self, tmp_path: Path) -> None:
        app = self.app(tmp_path, NIGHTSHIFT_DASHBOARD_PREFIX="off")
        Nightshift(app)
        assert app.test_client().get(f"{PREFIX}/me").status_code == 404

    def app(self, folder: Path, **settings: Any) -> Flask:
        app = Flask("guest", instance_path=str(folder))
        app.config.update(
            NIGHTSHIFT_BROKER_URL="memory://",
            NIGHTSHIFT_DATABASE_URL=f"sqlite:///{folder}/history.sqlite3",
            SECRET_KEY="x",
            TESTING=True,
            **settings,
        )
        return app
