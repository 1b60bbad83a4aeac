"""Dashboards for tests in a browser: a real app with a real worker, and what every page has to keep.

    def test_x(dashboard: Dashboard) -> None:
        page = dashboard.open("/queues")
        ...
        dashboard.look(page, "queues")

After each test, nothing may have been logged to the console, and nothing requested from anywhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response

import dashapp
from system import System, running

QUICK = bool(os.environ.get("QUICK"))
PICTURES = Path(os.environ.get("PICTURES", Path(__file__).parents[2] / "build" / "pictures"))
"""Where screenshots go; the folder is ignored by git."""
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
EXPECTED = re.compile(r"Failed to load resource: the server responded with a status of (4\d\d|503)")
"""What the console says about an answer that a test provokes."""
_SERIOUS = ("serious", "critical")


class Dashboard:
    """The dashboard of a system of ``dashapp``; ``app`` is the same app within the test."""

    def __init__(
        self, browser: Browser, url: str, system: System | None = None, app: Flask | None = None
    ) -> None:
        self.browser = browser
        self.url = url
        self.system = system
        self.app = app
        self.problems: list[str] = []
        self._contexts: list[Any] = []

    def open(self, path: str = "/", actor: str = "ada", **options: Any) -> Page:
        """A page in a fresh profile, as ``actor`` (``ada``, or ``ada: view pause``); options as for ``new_context``."""
        headers = {"X-Actor": actor} if actor else {}
        options = {"viewport": DESKTOP, "reduced_motion": "reduce", "extra_http_headers": headers} | options
        context = self.browser.new_context(**options)
        self._contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: self.problems.append(f"{page.url}: {error}"))
        page.on("console", self._heard)
        page.on("request", self._asked)
        page.on("response", self._answered)
        page.goto(f"{self.url}{path}")
        return page

    def look(self, page: Page, name: str, phone: bool = True) -> None:
        """Check the page with axe and for its width, in both themes and on a phone, and take its pictures.

        ``QUICK=1`` takes no pictures and checks each theme and each width once: light on a desktop, dark on a phone.
        """
        before = page.viewport_size
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            if not (QUICK and phone and scheme == "dark"):
                self._look_once(page, f"{name}-{scheme}")
            if phone and not (QUICK and scheme == "light"):
                page.set_viewport_size(PHONE)  # type: ignore[arg-type]
                self._look_once(page, f"{name}-phone-{scheme}")
                page.set_viewport_size(before or DESKTOP)  # type: ignore[arg-type]

    def check(self) -> None:
        """Fail if anything went wrong in a page since the last check, and close the pages."""
        for context in self._contexts:
            context.close()
        self._contexts.clear()
        found, self.problems = self.problems, []
        assert not found, "\n".join(found)

    def _look_once(self, page: Page, name: str) -> None:
        if not QUICK:
            PICTURES.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=PICTURES / f"{name}.png", full_page=True)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{name} is {wide} pixels wider than the screen"
        found = Axe().run(page).response["violations"]
        serious = [
            f"{each['id']}: {each['help']}: {[node['html'][:200] for node in each['nodes'][:4]]}"
            for each in found
            if each["impact"] in _SERIOUS
        ]
        assert not serious, f"{name}: " + "\n".join(serious)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not EXPECTED.match(message.text):
            self.problems.append(f"console: {message.text}")

    def _asked(self, request: Request) -> None:
        origin = re.match(r"\w+://[^/]+", self.url)
        assert origin is not None
        if not request.url.startswith((origin[0], "data:")):
            self.problems.append(f"a request to {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 500 and response.status != 503:
            self.problems.append(f"{response.url}: {response.status}")


@contextmanager
def of_system(browser: Browser, folder: Path, broker_url: str, database_url: str) -> Iterator[Dashboard]:
    """A running web app and worker, and their dashboard; its app is current within the block."""
    with ExitStack() as stack:
        system = stack.enter_context(
            running(folder, broker_url, FLASK_APP="dashapp", NIGHTSHIFT_DATABASE_URL=database_url)
        )
        stack.enter_context(patch.dict(os.environ, INSTANCE=system.env["INSTANCE"]))
        app = dashapp.create_app(NIGHTSHIFT_BROKER_URL=broker_url, NIGHTSHIFT_DATABASE_URL=database_url)
        stack.callback(dashapp.jobs.close, app)
        stack.enter_context(app.app_context())
        worker = system.worker("--concurrency", "2", wait=False)
        system.web()
        assert system.http is not None
        system.until_ready(worker)
        yield Dashboard(browser, f"{str(system.http.base_url).rstrip('/')}/nightshift", system, app)


__all__ = ["DESKTOP", "PHONE", "PICTURES", "Dashboard", "of_system"]
