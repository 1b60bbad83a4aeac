"""Chromium, and the running shop."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from dashboards import Dashboard, of_system
from servers import missing
from shop_stack import ShopStack

expect.set_options(timeout=20_000)  # milliseconds: attempts, waits between them, and a machine that is busy

SCREENSHOTS = os.environ.get("SCREENSHOTS")
"""A folder to put pictures of the page in, for people to look at; none are taken without it."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or missing("chromium", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def shop(browser: Browser) -> Iterator[ShopStack]:
    """The running shop with all its processes, shared by all tests of the page."""
    stack = ShopStack(
        NIGHTSHIFT_TASK_DEFAULTS='{"retry_backoff": 0.5, "retry_jitter": false, "max_retries": 3}'
    )
    try:
        stack.start()
        yield stack
    finally:
        stack.close()


@pytest.fixture
def open_page(browser: Browser, shop: ShopStack) -> Iterator[Any]:
    """Open the page in a fresh profile: ``open_page(viewport=…, color_scheme=…)``; a page error fails the test."""
    contexts, problems = [], []

    def open_(path: str = "/", **options: Any) -> Page:
        context = browser.new_context(reduced_motion="reduce", **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(shop.url + path)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not problems


@pytest.fixture
def picture(request: pytest.FixtureRequest) -> Any:
    """Save a screenshot of a page if a folder for them is configured."""

    def take(page: Page, name: str = "") -> None:
        if SCREENSHOTS:
            page.screenshot(path=Path(SCREENSHOTS) / f"{name or request.node.name}.png", full_page=True)

    return take


@pytest.fixture(scope="module")
def site(
    browser: Browser, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Dashboard]:
    """A system with a dashboard on Valkey and SQLite, or on the pair of its parameter; shared by a module's tests."""
    broker, database = getattr(request, "param", ("valkey", None))
    folder = tmp_path_factory.mktemp("dashboard")
    url = request.getfixturevalue(broker).fresh_url()
    history = request.getfixturevalue(database).fresh_url() if database else f"sqlite:///{folder}/h.sqlite3"
    with of_system(browser, folder, url, history) as dashboard:
        yield dashboard


@pytest.fixture
def dashboard(site: Dashboard) -> Iterator[Dashboard]:
    """The same; fails the test if a page logged an error or asked another site for something."""
    yield site
    site.check()
