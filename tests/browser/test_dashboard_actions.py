"""Every action of every page, without JavaScript and with the keyboard alone, with a real worker and Beat behind."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

import dashapp
from bulks import letters
from dashboards import Dashboard
from flask_nightshift.observe import audit
from flask_nightshift.operations import bulk, dead_letters, pauses
from flask_nightshift.operations.dead_letters import Filters
from flask_nightshift.services import current
from hands import Keyboard, Mouse
from servers import wait_for

pytestmark = pytest.mark.browser
Open = Callable[..., Mouse]


@pytest.fixture(
    params=[
        pytest.param(Mouse, id="no-javascript"),
        pytest.param(Keyboard, id="keyboard", marks=pytest.mark.thorough),
    ]
)
def use(request: pytest.FixtureRequest, dashboard: Dashboard) -> Open:
    """Opens a page: ``use("/queues")``."""
    return lambda path, actor="ada": request.param(dashboard.open(path, actor, **request.param.options))


@pytest.fixture
def gate(dashboard: Dashboard, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a gate of its own, which is open after the test."""
    assert dashboard.system is not None
    name = re.sub(r"\W", "-", request.node.name)
    yield name
    Path(dashboard.system.env["INSTANCE"], f"gate.{name}").touch()


def said(page: Page, words: str) -> None:
    expect(page.get_by_role("status").first).to_contain_text(words)


def row(page: Page, text: str) -> Any:
    return page.get_by_role("row").filter(has_text=text)


def button(page: Page, name: str) -> Any:
    return page.get_by_role("button", name=name, exact=True)


def link(page: Page, name: str) -> Any:
    return page.get_by_role("link", name=name)


def until(job_id: str, state: str) -> None:
    wait_for(lambda: dashapp.jobs.job(job_id).state == state, 30, f"{job_id} is not {state}")


def until_done(page: Page) -> bulk.BulkAction:
    """The bulk action of the page, when it has ended."""
    page.wait_for_url("**/bulk/action?*")
    [action_id] = re.findall(r"action_id=([\w-]+)", page.url)

    def ended() -> bool:
        return bulk.find(current(), action_id).ended

    wait_for(ended, 30, "the bulk action does not end")
    return bulk.find(current(), action_id)


def test_queues(use: Open) -> None:
    hands = use("/queues")
    page = hands.page
    hands.press(row(page, "mail").get_by_role("link", name="Pause…"))
    hands.write(page.get_by_label("Reason"), "the mail server moves")
    hands.press(button(page, "Pause"))
    said(page, "mail is paused")
    dashapp.quick.delay("purged")
    wait_for(lambda: current().broker.depths(["mail"])[0].ready == 1, 10, "it does not wait")
    hands.press(row(page, "mail").get_by_role("link", name="Purge…"))
    hands.write(page.get_by_label("Type mail to confirm"), "mail")
    hands.press(button(page, "Delete 1 job"))
    said(page, "1 job of mail deleted")
    hands.press(row(page, "mail").get_by_role("button", name="Resume", exact=True))
    said(page, "mail is resumed")


def test_delayed_jobs(use: Open) -> None:
    one, two, three, four = (dashapp.quick.apply_async((str(n),), countdown=3600).id for n in range(4))
    current().journal.flush(10)
    hands = use("/delayed")
    page = hands.page
    hands.press(row(page, one[-8:]).get_by_role("button", name="Run now", exact=True))
    said(page, "1 job moved to the head")
    hands.tick(row(page, two[-8:]).get_by_role("checkbox"))
    hands.press(button(page, "Run selected now"))
    said(page, "1 job moved to the head")
    hands.tick(row(page, three[-8:]).get_by_role("checkbox"))
    hands.press(button(page, "Cancel selected…"))
    hands.press(button(page, "Cancel 1 job"))
    said(page, "1 job cancelled")
    hands.press(link(page, "Run all that match…"))
    hands.press(button(page, "Run 1 delayed job"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Run all delayed jobs")
    for job_id in (one, two, four):
        until(job_id, "succeeded")
    until(three, "cancelled")


def test_dead_letters_go_to_another_queue(use: Open, dashboard: Dashboard) -> None:
    services = current()
    first, second, third, fourth, *others = letters(services.store, 9, task="dash.quick")
    hands = use("/letters?task=dash.quick")
    page = hands.page
    hands.press(link(page, "dash.quick"))
    hands.tick(page.get_by_role("checkbox", name=f"Select {first}"))
    hands.press(button(page, "Replay selected…"))
    if isinstance(hands, Keyboard):
        dashboard.look(page, "letters-check-replay")
    hands.write(page.get_by_label("Queue"), "no name")
    hands.press(button(page, "Replay"))
    expect(page.get_by_text("a queue name is 1 to 200 letters", exact=False)).to_be_visible()
    page.go_back()
    hands.write(page.get_by_label("Queue"), "billing")
    hands.press(button(page, "Replay"))
    said(page, "1 dead letter replayed.")
    until(first, "succeeded")
    assert dashapp.jobs.job(first).queue == "billing"
    hands.tick(page.get_by_role("checkbox", name=f"Select {second}"))
    hands.press(button(page, "Discard selected…"))
    hands.press(button(page, "Discard"))
    said(page, "1 dead letter discarded.")

    page.goto(f"{dashboard.url}/letters/letter?letter_id={third}")
    hands.press(button(page, "Replay"))
    said(page, "1 dead letter replayed.")
    page.goto(f"{dashboard.url}/letters/letter?letter_id={fourth}")
    hands.press(button(page, "Discard…"))
    hands.press(button(page, "Discard 1 dead letter"))
    said(page, "1 dead letter discarded.")

    page.goto(f"{dashboard.url}/letters?task=dash.quick")
    hands.press(link(page, "Replay these…"))
    hands.write(page.get_by_label("Queue"), "billing")
    hands.write(page.get_by_label("Reason"), "mail is slow")
    hands.press(button(page, f"Replay {len(others)} dead letters"))
    expect(page.get_by_text("billing", exact=True)).to_be_visible()
    ended = until_done(page)
    assert (ended.state, ended.acted, ended.why) == ("done", len(others), "mail is slow")
    for job_id in others:
        until(job_id, "succeeded")
        assert dashapp.jobs.job(job_id).queue == "billing"


def test_changed_arguments_and_copies_go_to_another_queue(use: Open, dashboard: Dashboard) -> None:
    job_id, again = letters(current().store, 2, task="dash.quick", args=["as it was"])
    hands = use(f"/letters/letter?letter_id={job_id}")
    page = hands.page
    hands.press(link(page, "Edit and replay…"))
    hands.write(page.get_by_label("Positional arguments"), '["changed"]')
    hands.write(page.get_by_label("Queue"), "billing")
    hands.press(button(page, "Replay with these arguments"))
    said(page, "runs again, with the arguments that you gave")
    until(job_id, "succeeded")
    assert dashapp.jobs.job(job_id).queue == "billing"

    for press, args in (("Enqueue a changed copy", "changed"), ("Enqueue it as it was", "as it was")):
        page.goto(f"{dashboard.url}/letters/letter?letter_id={again}")
        hands.press(link(page, "Enqueue again…"))
        if args == "changed":
            hands.write(page.get_by_label("Positional arguments"), '["changed"]')
        hands.write(page.get_by_label("Queue"), "billing")
        hands.press(button(page, press))
        said(page, "The copy is enqueued")
        copy = page.url.rpartition("/")[2]
        until(copy, "succeeded")
        assert dashapp.jobs.job(copy).queue == "billing"
        assert dashapp.quick.AsyncResult(copy).get(timeout=10) == f"done {args}"


def test_running_jobs_are_cancelled_and_killed(use: Open, gate: str, dashboard: Dashboard) -> None:
    first = dashapp.hold.delay(gate).id
    until(first, "running")
    hands = use(f"/jobs/{first}")
    page = hands.page
    hands.press(button(page, "Cancel…"))
    hands.write(page.get_by_label("Reason"), "no longer wanted")
    hands.press(button(page, "Cancel the job"))
    said(page, "A job that does not ask goes on")
    assert dashapp.jobs.job(first).state == "running"
    hands.press(button(page, "Cancel and stop it…"))
    hands.write(page.get_by_label("Reason"), "it hangs")
    hands.press(button(page, "Cancel and stop it"))
    said(page, "was told to stop the job")
    until(first, "cancelled")

    pair = [dashapp.hold.delay(gate).id for _ in range(2)]
    for job_id in pair:
        until(job_id, "running")
    page.goto(f"{dashboard.url}/jobs?q=task:dash.hold+state:running")
    hands.press(link(page, "Cancel all that match…"))
    hands.tick(page.get_by_role("checkbox", name=re.compile("Kill the child processes")))
    if isinstance(hands, Keyboard):
        dashboard.look(page, "bulk-plan-cancel")
    hands.press(button(page, "Cancel 2 jobs"))
    expect(page.get_by_text("are killed")).to_be_visible()
    for job_id in pair:
        until(job_id, "cancelled")  # their gate is closed


def test_a_delayed_job_and_a_bulk_action(use: Open, dashboard: Dashboard) -> None:
    job_id = dashapp.quick.apply_async(["later"], countdown=3600).id
    until(job_id, "queued")
    hands = use(f"/jobs/{job_id}")
    page = hands.page
    hands.press(button(page, "Run now"))
    said(page, "at the head of its queue")

    letters(current().store, 60, task="dash.quick", args=["letter %"])
    page.goto(f"{dashboard.url}/bulk/plan?do=discard&task=dash.quick")
    hands.write(page.get_by_label("At most this many per second"), "1")
    hands.press(page.get_by_role("button", name=re.compile(r"Discard \d+ dead letters")))
    hands.press(button(page, "Cancel the rest…"))
    hands.write(page.get_by_label("Reason"), "too many")
    hands.press(button(page, "Cancel the rest"))
    said(page, "Cancelled after")
    page.goto(f"{dashboard.url}/bulk/plan?do=discard&task=dash.quick")
    hands.press(page.get_by_role("button", name=re.compile(r"Discard \d+ dead letters")))
    until_done(page)


def test_a_reason_for_what_is_done_with_one_click(use: Open, dashboard: Dashboard) -> None:
    one, two = (dashapp.quick.apply_async((f"why {n}",), countdown=3600).id for n in range(2))
    until(one, "queued")
    until(two, "queued")
    letters(current().store, 1, task="dash.quick", args=["why"])
    [letter] = dead_letters.latest(current(), Filters(task="dash.quick"), 1)
    pauses.pause(current(), ["mail"])
    hands = use("/delayed")
    page = hands.page

    def because(where: Any, press: str, confirm: str, why: str) -> None:
        hands.press(where.get_by_role("button", name=f"{press}, and give a reason"))
        expect(page.get_by_role("heading", level=1)).to_have_text("Give a reason")
        hands.write(page.get_by_label("Reason"), why)
        hands.press(button(page, confirm))
        expect(page.get_by_role("status").first).to_be_visible()
        (row_of_audit,) = audit.page(current(), limit=1).actions
        assert (row_of_audit.why, row_of_audit.outcome, row_of_audit.count) == (why, "done", 1)

    because(row(page, one[-8:]), "Run now", "Run 1 job now", "the customer calls")
    hands.tick(row(page, two[-8:]).get_by_role("checkbox"))
    because(page, "Run selected now", "Run 1 job now", "all of them")
    page.goto(f"{dashboard.url}/queues")
    because(row(page, "mail"), "Resume", "Resume it", "it is mended")
    page.goto(f"{dashboard.url}/letters/letter?letter_id={letter.letter.id}")
    because(page, "Replay", "Replay 1 dead letter", "a second try")
    three = dashapp.quick.apply_async(("why 3",), countdown=3600).id
    until(three, "queued")
    page.goto(f"{dashboard.url}/jobs/{three}")
    because(page, "Run now", "Run it now", "now, please")
    page.goto(f"{dashboard.url}/schedules/entry?name=nightly+report")
    because(page, "Pause", "Pause it", "the night is full")
    because(page, "Resume", "Resume it", "not any more")
    because(page, "Run now", "Enqueue it now", "for the auditor")


def test_schedules(use: Open, dashboard: Dashboard) -> None:
    assert dashboard.system is not None
    if not any(process.name == "beat" for process in dashboard.system.processes):
        dashboard.system.beat()
    hands = use("/schedules")
    page = hands.page

    def looked_at() -> bool:
        page.reload()
        return bool(row(page, "nightly report").get_by_role("button", name="Skip", exact=True).is_visible())

    wait_for(looked_at, 20, "Beat has not looked at the entry")
    for press, words in (
        ("Run now", "is enqueued as the job"), ("Skip", "is left out"), ("Do not skip", "runs again"),
        ("Pause", "is paused"), ("Resume", "runs again"),
    ):  # fmt: skip
        hands.press(row(page, "nightly report").get_by_role("button", name=press, exact=True))
        said(page, words)
    hands.press(link(page, "nightly report"))
    for press, words in (
        ("Run now", "is enqueued as the job"), ("Skip next", "is left out"), ("Do not skip", "runs again"),
        ("Pause", "is paused"), ("Resume", "runs again"),
    ):  # fmt: skip
        hands.press(button(page, press))
        said(page, words)


def test_a_lock_and_the_audit(use: Open, gate: str) -> None:
    dashapp.alone.delay(gate)
    hands = use("/locks")
    page = hands.page
    hands.press(row(page, f"dash.alone:{gate}").get_by_role("link", name="Release"))
    hands.write(page.get_by_label("Reason"), f"stuck {gate}")
    hands.press(button(page, "Release"))
    said(page, "is released")
    hands.press(page.get_by_role("navigation", name="Pages").get_by_role("link", name="Audit"))
    hands.write(page.get_by_label("Since"), "1h")
    hands.press(button(page, "Show"))
    expect(row(page, f"stuck {gate}")).to_have_count(1)


def test_in_by_a_link_and_out(use: Open, dashboard: Dashboard) -> None:
    assert dashboard.system is not None
    url = dashboard.url.removesuffix("/nightshift")
    [way_in] = re.findall(r"http\S+/open\S*", dashboard.system.cli("dashboard", "--link", url).stdout)
    hands = use(way_in.removeprefix(dashboard.url), actor="")
    page = hands.page
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    hands.press(button(page, "Sign out"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Signed out")
    page.goto(f"{dashboard.url}/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Not for you")
