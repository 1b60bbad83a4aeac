"""Adds the HTTP API to an app: its rules share a view, which imports the rest at its first request."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, current_app
from werkzeug.routing import BaseConverter

from ...observe.our_rules import OurRule
from ...services import Services
from .paths import PATH, AnyPath

ENDPOINT = __name__


class _Rule(OurRule):
    def get_converter(self, *_: Any) -> BaseConverter:
        return AnyPath(self.map)  # not one of the app's, which may have replaced it


def mount(app: Flask, built: Services) -> None:
    """Add the API under ``NIGHTSHIFT_DASHBOARD_PREFIX``, unless that is off. It is closed while there is no token."""
    prefix = built.settings.dashboard_prefix
    if not prefix:
        return
    app.view_functions[ENDPOINT] = api
    for path in (
        "/",
        "/<path:path>",
    ):  # any method, because the API itself answers those that it does not take
        app.url_map.add(_Rule(prefix + PATH + path, endpoint=ENDPOINT, methods=None, merge_slashes=False))
    app.url_value_preprocessor(_exempt)


def api(path: str = "") -> Response:
    """Answer a request at ``path``."""
    from .serving import serve

    return serve(path)


def _exempt(endpoint: str | None, _: dict[str, Any] | None) -> None:
    """Exempt the API from Flask-WTF's check before that runs: it takes no cookie, so nobody can abuse one."""
    if endpoint == ENDPOINT and (csrf := current_app.extensions.get("csrf")) is not None:
        csrf.exempt(api)


__all__ = ["ENDPOINT", "mount"]
