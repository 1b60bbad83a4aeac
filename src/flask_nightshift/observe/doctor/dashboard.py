"""Check the dashboard: whether whoever should see it can, and that no route of the app hides it."""

from __future__ import annotations

from collections.abc import Iterator

from werkzeug.utils import import_string

from ...brokers.values import Finding
from ..our_rules import hidden
from .check import Seen, looks


@looks
def dashboard(seen: Seen) -> Iterator[Finding]:
    """What keeps the dashboard closed although it is configured."""
    settings = seen.services.settings
    auth = settings.dashboard_auth
    if auth is None or not settings.dashboard_prefix:
        return
    if not seen.services.app.config.get("SECRET_KEY"):
        text = "NIGHTSHIFT_DASHBOARD_AUTH is set, and SECRET_KEY is not: the dashboard answers 503"
        yield Finding("error", "dashboard", text, "Set SECRET_KEY, the same in all web processes.")
    if isinstance(auth, str) and (why := _unimportable(auth)):
        text = f"NIGHTSHIFT_DASHBOARD_AUTH = {auth!r} cannot be used: {why}"
        yield Finding("error", "dashboard", text, "Name a function that takes the request.")
    for path in hidden(seen.services.app):
        if path == f"{settings.dashboard_prefix}/":
            yield Finding(
                "warning",
                "dashboard",
                f"the app has a route {path} of its own, which hides the dashboard's first page",
                "Set NIGHTSHIFT_DASHBOARD_PREFIX to have both, or to 'off'.",
            )


def _unimportable(path: str) -> str:
    try:
        found = import_string(path)
    except Exception as exc:  # noqa: BLE001 - whatever the app's module raises
        return str(exc) or type(exc).__name__
    return "" if callable(found) else "it is not callable"


__all__ = ["dashboard"]
