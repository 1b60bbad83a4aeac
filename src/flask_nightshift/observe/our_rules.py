"""URL rules of ours in the app's map: the app's own go first (we are a guest)."""

from __future__ import annotations

from flask import Flask
from werkzeug.routing import Rule


def hidden(app: Flask) -> list[str]:
    """The paths of ours that the app serves itself."""
    return [rule.rule for rule in app.url_map.iter_rules() if isinstance(rule, OurRule) and rule.yields]


class OurRule(Rule):
    """A rule that is none where the app has one for the same path."""

    @property
    def yields(self) -> bool:
        """Whether it has, just now: rules may be added at any time before the first request."""
        rules = self.map.iter_rules() if self.map is not None else ()
        return any(
            rule.rule == self.rule
            and not isinstance(rule, OurRule)
            and (rule.methods is None or "GET" in rule.methods)
            for rule in rules
        )

    @property
    def methods(self) -> set[str] | None:
        """Those that it answers, which is what Werkzeug's matcher asks it for."""
        return set() if self.yields else self._methods

    @methods.setter
    def methods(self, methods: set[str] | None) -> None:
        self._methods = methods


__all__ = ["OurRule", "hidden"]
