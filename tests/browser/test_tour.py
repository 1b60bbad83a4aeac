"""The tour of docs/tour.md: from an alert at night to all replayed; it makes the pictures of that page, too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

import dashapp
from busy_history import fill
from dashboards import Dashboard
from flask_nightshift.domain.job import utcnow
from flask_nightshift.operations import dead_letters
from flask_nightshift.store import heartbeats
from servers import wait_for

pytestmark = pytest.mark.browser
PICTURES = os.environ.get("TOUR_PICTURES")
"""The folder of the pictures in the docs; only ``make tour`` writes there."""
SIZE = {"width": 1180, "height": 760}
ORDERS = range(4711, 4735)


RENAME = """names => {
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (words.nextNode())
    for (const [from, to] of names) words.currentNode.data = words.currentNode.data.replaceAll(from, to);
}"""
NAMES = [[str(dashapp.__file__), "/srv/shop/mail.py"], ["apps/dashapp.py", "shop/mail.py"]]


def picture(page: Page, name: str) -> None:
    """Take a picture for the docs, in which the app's file is that of a shop."""
    if PICTURES:
        heartbeats.tick(dashapp.jobs.services.store, "beat@one", utcnow())
        page.evaluate(RENAME, NAMES)
        page.screenshot(path=Path(PICTURES) / f"{name}.png")


def waiting() -> int:
    return dead_letters.count(dashapp.jobs.services, dead_letters.Filters())


@pytest.mark.thorough
def test_from_an_alert_at_night_to_all_replayed(dashboard: Dashboard) -> None:
    services = dashapp.jobs.services
    fill(services.store, jobs=3000, letters=0, workers=0, schedules=0)
    heartbeats.tick(services.store, "beat@one", utcnow())
    for order in ORDERS:
        dashapp.send_receipt.delay(order, f"customer{order}@example.org")
    refund = dashapp.refund.apply_async((4700, "12,50", "tok_9f31")).id
    wait_for(lambda: waiting() == len(ORDERS) + 1, 60, "not all died")

    page = dashboard.open("/", viewport=SIZE, color_scheme="light")
    expect(page.get_by_role("heading", name="Dying now")).to_be_visible()
    expect(page.locator("tr", has_text="mail.send_receipt").first).to_be_visible()
    picture(page, "1-overview")

    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Dead letters").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    picture(page, "2-incidents")

    page.get_by_role("link", name="mail.send_receipt").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("ConnectionRefusedError")
    picture(page, "3-incident")

    assert dashboard.system is not None
    Path(dashboard.system.env["INSTANCE"], "gate.mail").touch()  # somebody restarts the mail server
    page.locator("tbody tr a").first.click()
    expect(page.get_by_role("button", name="Replay", exact=True)).to_be_visible()
    picture(page, "4-letter")
    page.get_by_role("button", name="Replay, and give a reason").click()
    page.get_by_label("Reason").fill("Does the mail server answer?")
    page.get_by_role("button", name="Replay 1 dead letter").click()
    expect(page.get_by_role("status").first).to_contain_text("1 dead letter replayed.")
    wait_for(lambda: waiting() == len(ORDERS), 20, "it waits")
    page.locator("dd a.mono").first.click()
    expect(page.locator("[data-state]").first).to_have_text("succeeded")
    picture(page, "5-job")

    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Dead letters").click()
    page.get_by_role("link", name="mail.send_receipt").click()
    page.get_by_role("link", name="Replay all").click()
    expect(page.get_by_text(f"{len(ORDERS) - 1} dead letters").first).to_be_visible()
    picture(page, "6-replay")
    page.get_by_label("Reason").fill("The mail server is back")
    page.get_by_role("button", name="Replay").click()
    wait_for(lambda: waiting() == 1, 60, "not all are replayed")

    page.goto(f"{dashboard.url}/letters")
    page.get_by_role("link", name="billing.refund").click()
    page.locator("tbody tr a").first.click()
    page.get_by_role("link", name="Edit and replay").click()
    page.get_by_label("Positional arguments").fill('[4700, 12.50, "***"]')
    page.get_by_label("Reason").fill("The shop sent the amount with a comma")
    picture(page, "7-edit")
    page.get_by_role("button", name="Replay with these arguments").click()
    wait_for(lambda: dashapp.jobs.job(refund).state == "succeeded", 30, "it is not refunded")

    page.goto(f"{dashboard.url}/letters")
    expect(page.get_by_text("Nothing waits for a decision", exact=False)).to_be_visible()
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Audit").click()
    for why in (
        "The shop sent the amount with a comma",
        "The mail server is back",
        "Does the mail server answer?",
    ):
        expect(page.locator("tbody tr", has_text=why)).to_have_count(1)
    picture(page, "8-audit")
    page.goto(f"{dashboard.url}/")
    expect(page.get_by_text("Nothing died within the last hour", exact=False)).to_be_visible()
    assert waiting() == 0
