"""Ways to use a page: with the mouse where JavaScript is off, and with nothing but the keyboard.

``Keyboard`` reaches each part by Tab alone, and what has the focus must show it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from playwright.sync_api import Locator, Page

MOST = 400
"""Presses of Tab until a part of a page must be reached."""
_HAS_FOCUS = "each => each === document.activeElement"
_SHOWS_IT = (
    "each => getComputedStyle(each).outlineStyle !== 'none' && getComputedStyle(each).outlineWidth !== '0px'"
)


class Mouse:
    """A mouse and the fields of forms, without JavaScript."""

    options: ClassVar[dict[str, Any]] = {"java_script_enabled": False}

    def __init__(self, page: Page) -> None:
        self.page = page

    def press(self, what: Locator) -> None:
        """Press a button, or follow a link."""
        what.click()

    def write(self, what: Locator, text: str) -> None:
        """Write ``text`` in place of what a field has."""
        what.fill(text)

    def tick(self, what: Locator) -> None:
        """Tick a box."""
        what.check()


class Keyboard(Mouse):
    """Tab, Enter, Space and letters."""

    options: ClassVar[dict[str, Any]] = {}

    def press(self, what: Locator) -> None:
        self._reach(what)
        self.page.keyboard.press("Enter")

    def write(self, what: Locator, text: str) -> None:
        self._reach(what)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text)

    def tick(self, what: Locator) -> None:
        self._reach(what)
        self.page.keyboard.press("Space")
        assert what.is_checked()

    def _reach(self, what: Locator) -> None:
        what.wait_for()
        for _ in range(MOST):
            if what.evaluate(_HAS_FOCUS):
                break
            self.page.keyboard.press("Tab")
        else:
            raise AssertionError(f"Tab does not reach {what}")
        assert what.evaluate(_SHOWS_IT), f"{what} has the focus and does not show it"


__all__ = ["Keyboard", "Mouse"]
