"""Queues, delayed jobs, bulk actions and the audit in a real browser, with a real worker behind."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

import dashapp
from bulks import letters, statuses
from dashboards import Dashboard
from flask_nightshift.observe import audit
from flask_nightshift.operations import bulk
from flask_nightshift.services import current

pytestmark = pytest.mark.browser


def row(page: Page, text: str) -> Any:
    return page.get_by_role("row").filter(has_text=text)


def test_a_queue_is_paused_and_resumed_with_a_reason(dashboard: Dashboard) -> None:
    page = dashboard.open("/queues")
    mail = row(page, "mail")
    mail.get_by_role("link", name="Pause…").click()
    page.get_by_label("Reason").fill("the mail server <b>moves</b>")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("status").first).to_contain_text("mail is paused")
    expect(mail).to_contain_text("paused")
    expect(page.locator(".note")).to_have_text(
        re.compile("mail was paused .* by ada: the mail server <b>moves</b>")
    )
    job = dashapp.quick.delay("waits")
    expect(mail.locator("[data-label=Ready]")).to_have_text("1")  # live
    dashboard.look(page, "queues-paused")
    mail.get_by_role("button", name="Resume", exact=True).click()
    expect(page.get_by_role("status").first).to_contain_text("mail is resumed")
    assert job.get(timeout=20) == "done waits"
    resumed, paused = audit.page(current(), limit=2).actions
    assert (paused.by, paused.action, paused.why) == ("ada", "pause", "the mail server <b>moves</b>")
    assert (resumed.action, resumed.target) == ("resume", "queue mail")


def test_a_purge_wants_the_name_typed(dashboard: Dashboard) -> None:
    page = dashboard.open("/queues")
    row(page, "mail").get_by_role("link", name="Pause…").click()
    page.get_by_role("button", name="Pause").click()
    for number in range(3):
        dashapp.quick.delay(f"purged {number}")
    expect(row(page, "mail").locator("[data-label=Ready]")).to_have_text("3")
    row(page, "mail").get_by_role("link", name="Purge…").click()
    expect(page.get_by_text("3 jobs wait in mail.")).to_be_visible()
    dashboard.look(page, "purge")
    page.get_by_label("Type mail to confirm").fill("male")
    page.get_by_role("button", name="Delete 3 jobs").click()
    expect(page.get_by_text("Nothing was changed.")).to_be_visible()
    page.go_back()
    page.get_by_label("Type mail to confirm").fill("mail")
    page.get_by_role("button", name="Delete 3 jobs").click()
    expect(page.get_by_role("status").first).to_contain_text("3 jobs of mail deleted")
    row(page, "mail").get_by_role("button", name="Resume", exact=True).click()
    purged = audit.page(current(), audit.Filters(action="purge")).actions
    assert [(each.target, each.count) for each in purged] == [("queue mail", 3)]


def test_delayed_jobs_run_now_and_are_cancelled(dashboard: Dashboard) -> None:
    dashboard.look(dashboard.open("/delayed"), "delayed-empty")
    soon = dashapp.quick.apply_async(("now",), countdown=3600)
    never = dashapp.quick.apply_async(("never",), countdown=7200)
    failing = dashapp.retry.delay("the partner <i>is</i> down")
    current().journal.flush(10)
    page = dashboard.open("/delayed")
    expect(row(page, failing.id[-8:])).to_contain_text("ConnectionError: the partner <i>is</i> down")
    dashboard.look(page, "delayed")
    row(page, soon.id[-8:]).get_by_role("button", name="Run now", exact=True).click()
    expect(page.get_by_role("status").first).to_contain_text("1 job moved to the head")
    assert soon.get(timeout=20) == "done now"
    row(page, never.id[-8:]).get_by_role("checkbox").check()
    page.get_by_role("button", name="Cancel selected…").click()
    page.get_by_label("Reason").fill("nobody waits for it")
    dashboard.look(page, "delayed-cancel")
    page.get_by_role("button", name="Cancel 1 job").click()
    expect(page.get_by_role("status").first).to_contain_text("1 job cancelled")
    expect(row(page, never.id[-8:])).to_have_count(0)
    page.get_by_role("link", name="Waiting for a retry").click()
    page.get_by_role("link", name="Cancel all that match…").click()
    expect(page.get_by_text("1 matches now")).to_be_visible()
    page.get_by_role("button", name="Cancel 1 job").click()
    expect(page.get_by_text("done", exact=True)).to_be_visible()
    expect(page.get_by_text("1 of 1 (100 %)")).to_be_visible()


def test_a_bulk_action_is_planned_watched_and_cancelled(dashboard: Dashboard) -> None:
    dashboard.look(dashboard.open("/bulk", actor="bob"), "bulk-empty")
    services = current()
    letters(services.store, 60, task="dash.quick", args=["letter %"])
    page = dashboard.open("/bulk/plan?do=replay&task=dash.quick")
    expect(page.get_by_text("60 match now: dead letters with task=dash.quick.")).to_be_visible()
    dashboard.look(page, "bulk-plan")
    page.get_by_label("At most this many per second").fill("2")
    page.get_by_label("Reason").fill("the partner is back")
    page.get_by_role("button", name="Replay 60 dead letters").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Replay dead letters with task=dash.quick")
    expect(page.get_by_text(re.compile(r"^(?!0 )\d+ of 60 \("))).to_be_visible()
    dashboard.look(page, "bulk-running")
    page.get_by_role("button", name="Cancel the rest").click()
    page.get_by_label("Reason").fill("too many")
    page.get_by_role("button", name="Cancel the rest").click()
    expect(page.get_by_role("status").first).to_contain_text("Cancelled after")
    expect(page.get_by_text("cancelled", exact=True)).to_be_visible()
    (action,) = [each for each in bulk.latest(services) if each.action == "replay"]
    assert (action.by, action.why, action.state) == ("ada", "the partner is back", "cancelled")
    assert 0 < action.acted < 60
    assert statuses(services.store) == {"replayed": action.acted, "waiting": 60 - action.acted}
    page = dashboard.open("/bulk")
    dashboard.look(page, "bulk-list")
    page = dashboard.open("/audit")
    expect(row(page, "the partner is back").get_by_role("link", name="bulk action")).to_be_visible()
    page.get_by_label("Who").select_option("ada")
    page.get_by_label("Action", exact=True).select_option("replay")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("row")).to_have_count(2)
    dashboard.look(dashboard.open("/audit"), "audit")


def test_who_may_only_look_sees_no_buttons_and_is_refused(dashboard: Dashboard) -> None:
    only = "eve: view"
    page = dashboard.open("/queues", actor=only)
    expect(page.get_by_role("link", name="Pause…")).to_have_count(0)
    expect(page.get_by_role("link", name="Purge…")).to_have_count(0)
    for path in ("/queues/pause?queue=mail", "/queues/purge?queue=mail", "/bulk/plan?do=replay"):
        page = dashboard.open(path, actor=only)
        expect(page.get_by_text("permission")).to_be_visible()
