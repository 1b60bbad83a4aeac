"""Our URL rules in the app's map; the app's own rules take precedence (invariant 15)."""

from __future__ import annotations

from flask import Flask
from werkzeug.routing import Rule


def hidden(app: Flask) -> list[str]:
    """Our paths for which the app has a route of its own."""
    return [rule.rule for rule in app.url_map.iter_rules() if isinstance(rule, OurRule) and rule.yields]


class OurRule(Rule):
    """A rule that matches nothing if the app has a route for the same path."""

    @property
    def yields(self) -> bool:
        """Whether the app has such a route; computed at each access, because routes may be added later."""
        rules = self.map.iter_rules() if self.map is not None else ()
        return any(
            rule.rule == self.rule
            and not isinstance(rule, OurRule)
            and (rule.methods is None or "GET" in rule.methods)
            for rule in rules
        )

    @property
    def methods(self) -> set[str] | None:
        """The HTTP methods that it answers, for Werkzeug's matcher; none if it yields."""
        return set() if self.yields else self._methods

    @methods.setter
    def methods(self, methods: set[str] | None) -> None:
        self._methods = methods


__all__ = ["OurRule", "hidden"]
