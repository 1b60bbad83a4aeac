"""The docs site, as ``make docs`` built it: in both themes, on a phone, without a network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from places import ROOT

SITE = ROOT / "build" / "docs"
PAGES = [
    "docs/index",
    "docs/comparison",
    "docs/life-of-a-lease",
    "docs/reference/api",
    "docs/reference/commands",
]


@pytest.fixture
def open_docs(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open a page of the site; one that asks for anything outside of the site fails the test."""
    if not SITE.is_dir():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            "the docs site is not built: run make docs"
        )
    contexts, outside = [], []

    def open_(name: str, **options: Any) -> Page:
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("request", lambda asked: outside.append(asked.url) if asked.url.startswith("http") else None)
        page.goto(f"file://{SITE}/{name}")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert outside == []


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_kind_of_page_is_accessible(open_docs: Callable[..., Page], theme: str) -> None:
    page = open_docs("docs/index.html", color_scheme=theme)
    for name in PAGES:
        page.goto(f"file://{SITE}/{name}.html")
        found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"]}).response["violations"]
        assert [(each["id"], each["nodes"][0]["html"]) for each in found] == [], name


@pytest.mark.browser
def test_a_phone_does_not_scroll_sideways(open_docs: Callable[..., Page]) -> None:
    page = open_docs("docs/index.html", viewport={"width": 390, "height": 800})
    for name in PAGES:
        page.goto(f"file://{SITE}/{name}.html")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name


@pytest.mark.browser
def test_the_search_works_without_a_server(open_docs: Callable[..., Page]) -> None:
    page = open_docs("docs/index.html")
    page.get_by_placeholder("Search").fill("visibility_timeout")
    page.keyboard.press("Enter")
    expect(page.locator("#search-results")).to_contain_text("The lease transport")


@pytest.mark.browser
def test_the_address_without_a_path_leads_to_the_first_page(open_docs: Callable[..., Page]) -> None:
    page = open_docs("index.html")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Flask-Nightshift")
