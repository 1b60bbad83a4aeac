"""Dead letters in a real browser, with a worker behind: incidents, replay, discard, changed arguments, copies."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

import dashapp
from busy_history import fill
from dashboards import Dashboard
from flask_nightshift.message.burial import DEAD_QUEUE
from flask_nightshift.message.envelope import Envelope
from flask_nightshift.operations import dead_letters
from servers import wait_for

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror=alert(1)>\u202e\x00\x1b[31m'\"&"


def died(*job_ids: str) -> list[str]:
    """The ids of the jobs' dead letters, when all are archived."""
    services = dashapp.jobs.services
    found: dict[str, str] = {}

    def all_of_them() -> bool:
        letters = dead_letters.latest(services, dead_letters.Filters(status=None), 500)
        found.update({str(each.letter.job_id): each.letter.id for each in letters})
        return set(job_ids) <= set(found)

    wait_for(all_of_them, 30, "not all died")
    return [found[each] for each in job_ids]


def hostile_letter() -> str:
    """The id of the letter that no publisher of ours has made, when it is archived."""
    wanted = dead_letters.Filters(status=None)

    def found() -> list[str]:
        letters = dead_letters.latest(dashapp.jobs.services, wanted, 500)
        return [each.letter.id for each in letters if (each.letter.task or "").startswith("<img")]

    return str(wait_for(found, 30, "it is not archived")[0])


def until(job_id: str, state: str) -> None:
    wait_for(lambda: dashapp.jobs.job(job_id).state == state, 30, f"{job_id} is not {state}")


def said(page: Page, words: str) -> None:
    expect(page.get_by_role("status").first).to_contain_text(words)


def test_without_dead_letters(dashboard: Dashboard) -> None:
    page = dashboard.open("/letters")
    expect(page.get_by_text("Nothing waits for a decision")).to_be_visible()
    dashboard.look(page, "letters-empty")
    page.get_by_role("link", name="See what was replayed").click()
    expect(page.get_by_text("Nothing has died")).to_be_visible()


def test_one_some_and_all_of_an_incident_are_replayed(dashboard: Dashboard) -> None:
    jobs = [dashapp.dies.delay(f"no order {number}").id for number in range(4)]
    letters = died(*jobs)
    page = dashboard.open("/letters")
    page.get_by_role("link", name="dash.dies").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("ValueError")
    expect(page.locator("details.folded").first).to_be_visible()
    expect(page.get_by_text("raise ValueError(why)")).to_be_visible()
    page.get_by_role("button", name="Replay selected").click()
    expect(page.get_by_text("Nothing is selected")).to_be_visible()
    page.go_back()
    for number in (0, 1):
        page.get_by_role("checkbox", name=f"Select {jobs[number]}").check()
    page.get_by_role("button", name="Discard selected").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Discard 2 dead letters?")
    dashboard.look(page, "letters-check")
    page.get_by_label("Reason").fill("they are tests")
    page.get_by_role("button", name="Discard", exact=True).click()
    said(page, "2 dead letters discarded.")
    Path(str(dashboard.system.env["INSTANCE"]), "gate.mended").touch()  # type: ignore[union-attr]
    page.get_by_role("checkbox", name=f"Select {jobs[2]}").check()
    page.get_by_role("button", name="Replay selected").click()
    page.get_by_role("button", name="Replay", exact=True).click()
    said(page, "1 dead letter replayed.")
    until(jobs[2], "succeeded")
    page.goto(f"{dashboard.url}/letters/letter?letter_id={letters[3]}")
    page.get_by_role("button", name="Replay", exact=True).click()
    said(page, "1 dead letter replayed.")
    until(jobs[3], "succeeded")
    expect(page.get_by_text("replayed", exact=True).first).to_be_visible()
    expect(page.get_by_role("button", name="Replay", exact=True)).to_have_count(0)
    assert dashapp.jobs.job(jobs[0]).state == "dead"


def test_arguments_are_edited_before_a_replay(dashboard: Dashboard) -> None:
    job_id = dashapp.pay.delay(7, -5, "s3cret", note="rush").id
    [letter_id] = died(job_id)
    page = dashboard.open(f"/letters/letter?letter_id={letter_id}")
    dashboard.look(page, "letter")
    page.get_by_role("link", name="Edit and replay").click()
    args = page.get_by_label("Positional arguments")
    expect(args).to_have_value('[7, -5, "***"]')
    assert "s3cret" not in page.content()
    dashboard.look(page, "letter-edit")
    args.fill('[7, -5, "***"')
    page.get_by_role("button", name="Replay with these arguments").click()
    expect(page.get_by_text("args is not JSON", exact=False)).to_be_visible()
    expect(args).to_have_value('[7, -5, "***"')
    args.fill("[7]")
    page.get_by_role("button", name="Replay with these arguments").click()
    expect(page.get_by_text("does not take these arguments", exact=False)).to_be_visible()
    dashboard.look(page, "letter-edit-wrong", phone=False)
    args.fill('[7, 25.50, "***"]')
    page.get_by_label("Reason").fill("the customer called")
    page.get_by_role("button", name="Replay with these arguments").click()
    said(page, "runs again, with the arguments that you gave")
    expect(page.get_by_text("with changed arguments")).to_be_visible()
    expect(page.get_by_text('[7, 25.5, "***"]')).to_be_visible()
    until(job_id, "succeeded")
    dashboard.look(page, "letter-replayed")


def test_a_job_is_enqueued_again_and_as_a_changed_copy(dashboard: Dashboard) -> None:
    job_id = dashapp.pay.delay(8, -5).id
    [letter_id] = died(job_id)
    page = dashboard.open(f"/jobs/{job_id}")
    page.get_by_role("link", name="Enqueue again").click()
    dashboard.look(page, "copy")
    page.get_by_label("Positional arguments").fill("[8, 1]")
    page.get_by_role("button", name="Enqueue a changed copy").click()
    said(page, "The copy is enqueued")
    copy = page.url.rpartition("/")[2]
    assert copy != job_id
    until(copy, "succeeded")
    page.get_by_role("link", name=job_id[-8:]).first.click()
    expect(page.get_by_role("link", name=copy[-8:]).first).to_be_visible()
    page.goto(f"{dashboard.url}/letters/edit?letter_id={letter_id}")
    page.get_by_label("Positional arguments").fill("[8, 2]")
    page.get_by_role("button", name="Enqueue a changed copy").click()
    said(page, "The copy is enqueued")
    page.goto(f"{dashboard.url}/copy?job_id={job_id}")
    page.get_by_role("button", name="Enqueue it as it was").click()
    said(page, "The copy is enqueued")
    died(page.url.rpartition("/")[2])
    page.goto(f"{dashboard.url}/copy?job_id={copy}")
    expect(page.get_by_text("is not kept", exact=False)).to_be_visible()


def test_hostile_words_stay_words_and_permissions_hold(dashboard: Dashboard) -> None:
    hostile = dashapp.dies.apply_async([HOSTILE], {"times": 1})
    strange = Envelope(b"not JSON", {"id": f"{HOSTILE}/../x", "task": HOSTILE})
    dashapp.jobs.services.broker.publish(strange, DEAD_QUEUE)
    pays = dashapp.pay.delay(9, -5, "s3cret", note="only for ada")
    Path(str(dashboard.system.env["INSTANCE"]), "gate.mended").unlink(missing_ok=True)  # type: ignore[union-attr]
    letters = [*died(pays.id), hostile_letter()]
    for path in ("/letters", *(f"/letters/letter?letter_id={each}" for each in letters)):
        page = dashboard.open(path)
        expect(page.locator("h1")).to_be_visible()
        expect(page.locator("img")).to_have_count(0)
    page = dashboard.open("/letters/letter?letter_id=" + letters[1])
    page.get_by_role("link", name=re.compile("^[0-9a-f]{12}$")).click()
    expect(page.locator("img")).to_have_count(0)
    page.get_by_role("checkbox").last.check()
    page.get_by_role("button", name="Replay selected").click()
    expect(page.locator("img")).to_have_count(0)

    viewer = dashboard.open(f"/letters/letter?letter_id={letters[0]}", actor="eve: view")
    assert "only for ada" not in viewer.content()
    expect(viewer.get_by_text("You do not have the permission view_args")).to_be_visible()
    for name in ("Replay", "Discard"):
        expect(viewer.get_by_role("button", name=name)).to_have_count(0)
    viewer.goto(f"{dashboard.url}/letters/edit?letter_id={letters[0]}")
    expect(viewer.get_by_text("permission").first).to_be_visible()
    editor = dashboard.open(f"/letters/edit?letter_id={letters[0]}", actor="eve: view edit")
    expect(editor.get_by_text("you need the permission view_args", exact=False)).to_be_visible()
    assert "only for ada" not in editor.content()
    for query in (
        "?reason=nonsense",
        "?since=soon",
        "/incident?fingerprint=x",
        "/check?do=eat",
        "/letter?letter_id=",
    ):
        page.goto(f"{dashboard.url}/letters{query}")
        expect(page.get_by_role("heading", level=1)).not_to_have_text("Dead letters")
    assert hostile.id


def test_the_pages_of_a_busy_system(dashboard: Dashboard) -> None:
    """Last in the module, because it fills the history: 400 letters in 12 groups."""
    fill(dashapp.jobs.services.store, jobs=500, letters=400, days=1)
    page = dashboard.open("/letters")
    expect(page.locator("tbody tr").nth(11)).to_be_visible()
    dashboard.look(page, "letters")
    page.get_by_role("link", name="Largest").click()
    expect(page.locator("tbody tr").first).to_contain_text("hook.deliver")
    page.get_by_label("Task").fill("billing.charge")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_label("Task").fill("no.such")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("No incident matches")).to_be_visible()
    page.goto(f"{dashboard.url}/letters")
    page.get_by_role("link", name="hook.deliver").click()
    expect(page.locator("tbody tr")).to_have_count(50)
    dashboard.look(page, "incident")
    page.get_by_role("link", name="Older").click()
    expect(page.get_by_role("link", name="Newest")).to_be_visible()
    page.locator("tbody tr a").first.click()
    expect(page.get_by_text("hunter2")).to_have_count(0)
    dashboard.look(page, "letter-busy")
    began = time.perf_counter()
    assert page.request.get(f"{dashboard.url}/letters").ok
    assert time.perf_counter() - began < 5
