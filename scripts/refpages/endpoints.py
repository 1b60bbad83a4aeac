"""What the web app answers, from the declarations of the views: endpoints, the routes of the API, the dashboard."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

from flask_nightshift.config import Settings
from flask_nightshift.web import endpoints
from flask_nightshift.web.api import routing as api
from flask_nightshift.web.dashboard import routing as dashboard

from .markdown import code, plain
from .markdown import table as table_of


def of_programs() -> str:
    """A row for each endpoint that needs no dashboard."""
    rows = ((code(f"GET {path}"), _said(view)) for path, view in endpoints.views(Settings()).items())
    return table_of(("endpoint", "what it does"), rows)


def of_the_api() -> str:
    """A row for each route of the API: address, permission, meaning."""
    return table_of(("route", "permission", "meaning"), _routes())


def of_the_dashboard() -> str:
    """A row for each page and action of the dashboard: address, permission, meaning."""
    return table_of(("page or action", "permission", "meaning"), _pages())


def _routes() -> Iterator[tuple[str, str, str]]:
    for route in api.routes().values():
        address = re.sub(r"<(?:path:)?(\w+)>", r"{\1}", route.rule)
        needed = _needed(route.permission, "any token") + (f", {code(route.also)}" if route.also else "")
        yield code(f"{route.method} {address}"), needed, _said(route.run)


def _pages() -> Iterator[tuple[str, str, str]]:
    dashboard.table()
    for route in dashboard.ROUTES.values():
        address = re.sub(r"<(?:path:)?(\w+)>", r"{\1}", route.rule)
        yield (
            code(f"{route.methods[0]} {address}"),
            _needed(route.permission, "none"),
            _said(route.run, whole=False),
        )


def _needed(permission: str | None, otherwise: str) -> str:
    return code(permission) if permission else otherwise


def _said(function: Callable[..., Any], *, whole: bool = True) -> str:
    """The docstring, or its first paragraph."""
    said = inspect.getdoc(function) or ""
    text = said if whole else said.partition("\n\n")[0]
    return plain(re.sub(r"``([^`]+)``", r"`\1`", " ".join(text.split())))


__all__ = ["of_programs", "of_the_api", "of_the_dashboard"]
