"""Overview, jobs and a job in a real browser, with a worker behind, on both pairs of a broker and a database."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

import dashapp
from busy_history import fill
from dashboards import Dashboard
from flask_nightshift.operations import pauses
from flask_nightshift.operations.cancelling import busy_workers
from servers import wait_for

pytestmark = pytest.mark.browser
PAIRS = [
    pytest.param(("valkey", None), id="valkey-sqlite"),
    pytest.param(
        ("rabbitmq", "postgres"), id="rabbitmq-postgres", marks=[pytest.mark.postgres, pytest.mark.rabbitmq]
    ),
]
HOSTILE = "<img src=x onerror=alert(1)>\u202e\x00\x1b[31m'\"&"


def open_gate(dashboard: Dashboard, name: str) -> None:
    assert dashboard.system is not None
    Path(dashboard.system.env["INSTANCE"], f"gate.{name}").touch()


def until(dashboard: Dashboard, job_id: str, *states: str) -> None:
    """Wait until the history says that the job is in one of ``states``."""
    wait_for(lambda: dashapp.jobs.job(job_id).state in states, 30, f"{job_id} is not {states}")


BOTH = pytest.mark.parametrize("site", PAIRS, indirect=True)
ONE = pytest.mark.parametrize("site", PAIRS[:1], indirect=True)


class TestJobs:
    @BOTH
    def test_a_job_runs_live_and_can_be_stopped(self, dashboard: Dashboard) -> None:
        job_id = dashapp.hold.delay("held", steps=3).id
        until(dashboard, job_id, "running")
        wait_for(lambda: job_id in busy_workers(dashapp.jobs.services), 30, "no heartbeat names the job")
        page = dashboard.open(f"/jobs/{job_id}")
        expect(page.get_by_role("heading", level=1)).to_have_text("dash.hold")
        expect(page.locator("[data-state]").first).to_have_text("running")
        expect(page.get_by_role("progressbar", name="Progress")).to_have_attribute("value", "3")
        dashboard.look(page, "job-running")
        page.get_by_role("button", name="Cancel and stop it").click()
        page.get_by_label("Reason").fill("it hangs")
        dashboard.look(page, "job-ask-to-stop")
        page.get_by_role("button", name="Cancel and stop it").click()
        expect(page.get_by_role("status").first).to_contain_text("was told to stop the job")
        expect(page.locator("[data-state]").first).to_have_text("cancelled")  # it is live
        expect(page.get_by_role("button", name="Cancel")).to_have_count(0)

    @BOTH
    def test_a_delayed_job_says_why_it_waits_and_runs_now(self, dashboard: Dashboard) -> None:
        job_id = dashapp.quick.apply_async(["later"], countdown=3600).id
        until(dashboard, job_id, "queued")
        page = dashboard.open(f"/jobs/{job_id}")
        expect(page.get_by_role("region", name="Why is it waiting?")).to_be_visible()
        if dashapp.jobs.services.broker.capabilities.lists_delayed:
            page.get_by_role("button", name="Run now", exact=True).click()
            expect(page.get_by_role("status").first).to_contain_text("at the head of its queue")
            expect(page.locator("[data-state]").first).to_have_text("succeeded")
        else:
            expect(page.get_by_role("button", name="Run now")).to_have_count(0)
            page.get_by_role("button", name="Cancel").click()
            page.get_by_role("button", name="Cancel the job").click()
            expect(page.get_by_role("status").first).to_contain_text("cancelled")

    @ONE
    def test_a_dead_job_shows_the_user_s_frames(self, dashboard: Dashboard) -> None:
        job_id = dashapp.dies.delay("no such order").id
        until(dashboard, job_id, "dead")
        page = dashboard.open(f"/jobs/{job_id}")
        expect(page.get_by_text("dashapp.py").first).to_be_visible()
        expect(page.get_by_text("no such order").first).to_be_visible()
        folded = page.locator("details.folded")
        expect(folded.first).to_contain_text("librar")
        expect(page.get_by_role("link", name="Logs")).to_have_attribute(
            "href", f"https://logs.example.com/?q={job_id}"
        )
        dashboard.look(page, "job-dead")

    @ONE
    def test_relatives_are_a_tree(self, dashboard: Dashboard) -> None:
        job_id = dashapp.parent.delay().id
        until(dashboard, job_id, "succeeded")
        page = dashboard.open(f"/jobs/{job_id}")
        expect(page.locator(".tree .tree-row")).to_have_count(3)
        page.locator(".tree a").first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text("dash.quick")

    @ONE
    def test_the_list_is_searched_paged_and_walked_with_the_keyboard(self, dashboard: Dashboard) -> None:
        ids = [dashapp.quick.apply_async([f"number {n}"], {"colour": "blue"}).id for n in range(60)]
        until(dashboard, ids[-1], "succeeded")
        wait_for(
            lambda: all(dashapp.jobs.job(each).state == "succeeded" for each in ids), 30, "not all are done"
        )
        page = dashboard.open("/jobs")
        expect(page.locator("#count")).to_contain_text("jobs")
        page.keyboard.press("/")
        page.keyboard.type("state:succeeded task:dash.q* blue")
        page.keyboard.press("Enter")
        expect(page.locator("tbody tr")).to_have_count(50)
        page.get_by_role("link", name="Older").click()
        expect(page.locator("tbody tr").first).to_be_visible()
        page.get_by_role("link", name="Newest").click()
        expect(page.locator("tbody tr")).to_have_count(50)
        page.keyboard.press("j")
        page.keyboard.press("j")
        expect(page.locator("tr.current")).to_have_count(1)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("dash.quick")

        page.goto(f"{dashboard.url}/jobs?q={ids[0]}")
        expect(page).to_have_url(re.compile(f"/jobs/{ids[0]}$"))
        page.goto(f"{dashboard.url}/jobs?q=state:retryng")
        expect(page.get_by_text("did you mean 'retrying'")).to_be_visible()
        page.goto(f"{dashboard.url}/jobs?q=task:dash.quik")
        expect(page.get_by_text("did you mean 'dash.quick'")).to_be_visible()

    @ONE
    def test_hostile_words_stay_words_and_arguments_need_their_permission(self, dashboard: Dashboard) -> None:
        job_id = dashapp.dies.delay(HOSTILE).id
        odd = dashapp.quick.apply_async([HOSTILE], {"only": "in arguments"}, task_id="../a/..//b?#\n<b>").id
        until(dashboard, job_id, "dead")
        until(dashboard, odd, "succeeded")
        page = dashboard.open(f"/jobs/{job_id}")
        expect(page.locator("img")).to_have_count(0)
        expect(page.get_by_text("<img src=x onerror=alert(1)>").first).to_be_visible()
        page.goto(f"{dashboard.url}/jobs?q=task:dash.*")
        expect(page.locator("img")).to_have_count(0)
        page.locator("tr", has_text="dash.quick").first.locator("a.task").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("dash.quick")

        poor = dashboard.open(f"/jobs/{job_id}", actor="eve: view")
        expect(poor.get_by_text("You do not have the permission view_args")).to_be_visible()
        expect(poor.get_by_role("button", name="Cancel")).to_have_count(0)
        poor.goto(f"{dashboard.url}/jobs?q=onerror")
        expect(poor.get_by_text("you do not have the permission 'view_args'")).to_be_visible()
        poor.goto(f"{dashboard.url}/jobs?q=task:dash.quick")
        expect(poor.locator("tbody tr").first).to_be_visible()
        expect(poor.get_by_text("in arguments")).to_have_count(0)

    @BOTH
    def test_the_overview_is_live(self, dashboard: Dashboard) -> None:
        page = dashboard.open("/")
        expect(page.get_by_role("region", name="Is it well?")).to_be_visible()
        services = dashapp.jobs.services
        pauses.pause(services, ["mail"], reason="a test", by="ada")
        try:
            expect(page.locator("tr", has_text="mail").get_by_text("paused")).to_be_visible()
        finally:
            pauses.resume(services, ["mail"], by="ada")
        for period in ("Day", "30 days"):
            page.get_by_role("link", name=period, exact=True).click()
            expect(page.get_by_role("figure")).to_have_count(3)


@ONE
def test_the_pages_of_a_busy_system(dashboard: Dashboard) -> None:
    """Last in the module, because it fills the history; pictures of what people will see."""
    fill(dashapp.jobs.services.store, jobs=2000, letters=60, days=1)
    page = dashboard.open("/?period=day")
    expect(page.get_by_role("figure")).to_have_count(3)
    dashboard.look(page, "overview-busy")
    page.goto(f"{dashboard.url}/jobs")
    dashboard.look(page, "jobs-busy")
    page.goto(f"{dashboard.url}/tasks?period=day")
    page.get_by_role("link", name="Slowest").click()
    expect(page.locator("tbody tr").first).to_contain_text("report.weekly")
    dashboard.look(page, "tasks")
    page.goto(f"{dashboard.url}/jobs?q=state:retrying")
    page.locator("a.task").first.click()
    expect(page.locator(".timeline")).to_be_visible()
    dashboard.look(page, "job-retrying")
