"""Schedules, workers and locks in a real browser, beside real workers and a Beat."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

import dashapp
from dashboards import Dashboard
from flask_nightshift import services
from flask_nightshift.observe import audit

pytestmark = pytest.mark.browser


@pytest.fixture
def gate(dashboard: Dashboard, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A gate of its own, which is open after the test; its job has the name of the test."""
    assert dashboard.system is not None
    gate = Path(dashboard.system.env["INSTANCE"], f"gate.{request.node.originalname}")
    gate.unlink(missing_ok=True)  # of an earlier run of this test
    yield gate
    gate.touch()


def test_workers_of_two_versions_and_what_they_run(
    dashboard: Dashboard, gate: Path, request: pytest.FixtureRequest
) -> None:
    system = dashboard.system
    assert system is not None
    page = dashboard.open("/workers")
    live = page.locator("#live")
    expect(live).to_contain_text("worker")
    expect(live).to_contain_text("on every worker")
    expect(live).not_to_contain_text("dash.hold")

    job_id = dashapp.hold.delay(gate.suffix[1:]).id
    expect(live).to_contain_text("dash.hold")  # without a reload
    expect(live).to_contain_text("1 of 2")
    expect(page.get_by_role("link", name=f"…{job_id[-8:]}")).to_be_visible()
    younger = system.worker("--concurrency", "1", name="younger", wait=False, APP_VERSION="v2")
    request.addfinalizer(younger.stop)
    expect(live).to_contain_text(
        re.compile("Two versions are at work: 1 worker runs v2, first seen .* and 1 still runs v1")
    )
    expect(page.get_by_role("row").filter(has_text="younger")).to_contain_text("v2")
    expect(page.get_by_role("row").filter(has_text="older")).to_have_count(1)
    dashboard.look(page, "workers")
    gate.touch()
    expect(live).not_to_contain_text("dash.hold")


def test_the_schedule_runs_skips_and_pauses(dashboard: Dashboard, request: pytest.FixtureRequest) -> None:
    system, app = dashboard.system, dashboard.app
    assert system is not None
    assert app is not None
    page = dashboard.open("/schedules")
    expect(page.locator("#live")).to_contain_text("No Beat runs")
    entry = page.get_by_role("row").filter(has_text="nightly report")
    expect(entry).to_contain_text("at 03:30 every day")
    expect(entry).to_contain_text("30 3 * * *")
    request.addfinalizer(system.beat().stop)
    expect(page.locator("#live")).not_to_contain_text("No Beat runs")
    expect(entry).to_contain_text(re.compile(r"in \d+ (h|min)"))

    entry.get_by_role("button", name="Run now", exact=True).click()
    said = page.get_by_role("status").first
    expect(said).to_contain_text("nightly report is enqueued as the job")
    job_id = (said.text_content() or "").split()[-1].rstrip(".")
    entry.get_by_role("button", name="Skip", exact=True).click()
    expect(said).to_contain_text("The run of nightly report due at")
    expect(entry).to_contain_text("one is left out")
    entry.get_by_role("button", name="Do not skip", exact=True).click()
    expect(entry).not_to_contain_text("one is left out")

    entry.get_by_role("link", name="nightly report").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("nightly report")
    expect(page.locator("#next li")).to_have_count(5)
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.locator("#next")).to_contain_text(re.compile("paused .* by ada"))
    dashboard.look(page, "schedule")
    page.get_by_role("button", name="Resume", exact=True).click()
    expect(page.get_by_role("status").first).to_contain_text("runs again as its schedule says")
    system.until(
        lambda: dashapp.quick.AsyncResult(job_id).get(timeout=1) == "done nightly", 20, "it did not run"
    )
    page.goto(f"{dashboard.url}/schedules")
    dashboard.look(page, "schedules")

    current = services.current(app)
    acts = [(each.action, each.target, each.by) for each in reversed(audit.page(current, limit=5).actions)]
    assert acts == [
        (act, "entry nightly report", "ada") for act in ("run", "skip", "resume", "pause", "resume")
    ]
    watcher = dashboard.open("/schedules", actor="bob: view")
    expect(watcher.get_by_role("row").filter(has_text="nightly report")).to_be_visible()
    expect(watcher.get_by_role("button", name=re.compile("Run|Skip|Pause"))).to_have_count(0)


def test_a_lock_is_released_with_a_reason(dashboard: Dashboard, gate: Path) -> None:
    page = dashboard.open("/locks")
    expect(page.locator("#live")).to_contain_text("No unique job holds a lock")
    dashboard.look(page, "locks-empty")
    name = gate.suffix[1:]
    first = dashapp.alone.delay(name).id
    lock = page.get_by_role("row").filter(has_text=f"dash.alone:{name}")
    expect(lock).to_contain_text(first[-8:])
    expect(lock).to_contain_text("running")
    assert dashapp.alone.delay(name).id == first  # the lock keeps it out
    dashboard.look(page, "locks")
    blind = dashboard.open("/locks", actor="bob: view run")
    expect(blind.get_by_role("row").filter(has_text="dash.alone")).to_contain_text("***")
    expect(blind.get_by_role("link", name="Release")).to_have_count(0)

    lock.get_by_role("link", name="Release").click()
    expect(page.locator("main")).to_contain_text("The job that holds it now is not touched")
    page.get_by_label("Reason").fill("its worker is stuck")
    dashboard.look(page, "locks-release")
    page.get_by_role("button", name="Release").click()
    expect(page.get_by_role("status").first).to_contain_text(f"The job {first} held it.")
    expect(page.locator("#live")).to_contain_text("No unique job holds a lock")
    second = dashapp.alone.delay(name).id
    assert second != first
    expect(page.locator("#live")).to_contain_text(second[-8:])
    assert dashboard.app is not None
    found, *_ = audit.page(services.current(dashboard.app), audit.Filters(action="release")).actions
    assert (found.target, found.why, found.count) == ("lock of dash.alone", "its worker is stuck", 1)


def test_empty_pages_say_what_to_do_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTANCE", str(tmp_path))
    history = f"sqlite:///{tmp_path}/h.sqlite3"
    app = dashapp.create_app(
        NIGHTSHIFT_BROKER_URL="memory://", NIGHTSHIFT_DATABASE_URL=history, NIGHTSHIFT_SCHEDULE={}
    )
    try:
        services.current(app).store.migrate()
        client = app.test_client()
        for path, said in (
            ("workers", "flask jobs worker"), ("schedules", "NIGHTSHIFT_SCHEDULE"), ("locks", "unique=&#34;until_done"),
        ):  # fmt: skip
            answer = client.get(f"/nightshift/{path}", headers={"X-Actor": "ada"})
            assert answer.status_code == 200
            assert said in answer.get_data(as_text=True)
        for path in ("schedules/entry", "schedules/entry?name=none", "locks/ask"):
            assert client.get(f"/nightshift/{path}", headers={"X-Actor": "ada"}).status_code in (400, 404)
    finally:
        dashapp.jobs.close(app)
