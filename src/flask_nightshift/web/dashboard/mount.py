"""Adds the dashboard to an app: two rules, whose view imports the rest at its first request.

The rules match everything under the prefix, so each route of the app under it is more precise and takes precedence.
"""

from __future__ import annotations

import logging
from typing import Any

from flask import Flask, Response, request

from ...observe.our_rules import OurRule
from ...services import Services
from ...text.lines import Line

ENDPOINT = __name__
logger = logging.getLogger("flask_nightshift.http")

NO_KEY = (
    "NIGHTSHIFT_DASHBOARD_AUTH is set, but SECRET_KEY is not: the dashboard stays closed (503), because it signs its "
    "forms with that key. Set SECRET_KEY to the output of python -c 'import secrets; print(secrets.token_hex())', the "
    "same in all web processes, before Nightshift(app)"
)
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def mount(app: Flask, built: Services) -> None:
    """Add the dashboard under ``NIGHTSHIFT_DASHBOARD_PREFIX``, unless that is empty."""
    prefix = built.settings.dashboard_prefix
    if not prefix:
        return
    app.view_functions[ENDPOINT] = dashboard
    for path in ("/", "/<path:path>"):
        rule = OurRule(prefix + path, endpoint=ENDPOINT, methods=set(METHODS), merge_slashes=False)
        rule.provide_automatic_options = True  # type: ignore[attr-defined] # as Flask adds its own rules
        app.url_map.add(rule)
    app.url_value_preprocessor(_exempt)
    if built.settings.dashboard_auth is not None and not _has_a_key(built):
        logger.warning(Line("http.dashboard_closed", NO_KEY))


def _has_a_key(built: Services) -> bool:
    if built.app.config.get("SECRET_KEY"):
        return True
    from .guard import keys

    return keys(built) is not None


def dashboard(path: str = "") -> Response:
    """Answer a request for the page or action at ``path``."""
    from .serving import serve

    return serve(path)


def _exempt(endpoint: str | None, _: dict[str, Any] | None) -> None:
    """Exempt the dashboard from Flask-WTF's check before it runs; every change has our own token (``guard.py``)."""
    if endpoint != ENDPOINT:
        return
    from flask import current_app

    if (csrf := current_app.extensions.get("csrf")) is not None and request.method not in ("GET", "HEAD"):
        csrf.exempt(dashboard)


__all__ = ["ENDPOINT", "mount"]
