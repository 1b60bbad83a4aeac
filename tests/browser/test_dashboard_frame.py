"""The frame of the dashboard in a real browser: themes, the keyboard, live parts, and pages without JavaScript."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from dashboards import PHONE, Dashboard

pytestmark = pytest.mark.browser


def test_strangers_see_how_to_open_it(dashboard: Dashboard) -> None:
    page = dashboard.open("/", actor="")
    expect(page.get_by_role("heading", level=1)).to_have_text("Not for you")
    dashboard.look(page, "closed")


def test_the_chosen_colours_are_remembered(dashboard: Dashboard) -> None:
    page = dashboard.open("/", color_scheme="light")
    root = page.locator("html")
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.get_by_role("button", name="Dark").click()
    expect(root).to_have_attribute("data-theme", "dark")
    dark = page.evaluate(colour)
    assert dark != light
    page.reload()
    assert page.evaluate(colour) == dark
    page.get_by_role("button", name="Auto").click()
    page.reload()
    assert page.evaluate(colour) == light


def test_the_keyboard(dashboard: Dashboard) -> None:
    page = dashboard.open("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("g")
    page.keyboard.press("j")
    expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()


def test_a_hidden_tab_does_not_poll_and_a_visible_one_gets_304(dashboard: Dashboard) -> None:
    page = dashboard.open("/")
    polls: list[int] = []
    page.on("response", lambda answer: polls.append(answer.status))
    with page.expect_response(lambda answer: answer.status == 304):
        pass
    page.evaluate("Object.defineProperty(document, 'visibilityState', {value: 'hidden', configurable: true})")
    page.wait_for_timeout(100)  # a poll that is under way
    polls.clear()
    page.wait_for_timeout(2500)
    assert polls == []


def test_it_works_without_javascript(dashboard: Dashboard) -> None:
    page = dashboard.open("/", java_script_enabled=False, viewport=PHONE)
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Jobs", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
    page.get_by_role("searchbox").fill("task:dash.*")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"q=task"))
