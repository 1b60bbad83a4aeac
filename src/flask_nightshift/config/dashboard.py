"""Checks of the settings of the dashboard."""

from __future__ import annotations

import re
from collections.abc import Callable
from string import Formatter
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigurationError
from .setting import mapping

LINKED = ("job_id", "task", "queue", "request_id", "worker")
"""What the URL of a link may have in braces."""
MOST_LINKS = 20
OFF = "off"
_PREFIX = re.compile(r"(/[\w.~-]+)+")
_PATH = re.compile(r"[\w.]+(:[\w.]+|\.\w+)")


def prefix(key: str, value: Any) -> str:
    """A path, or an empty text for ``off``."""
    if isinstance(value, str) and value.strip().lower() == OFF:
        return ""
    if not isinstance(value, str) or not _PREFIX.fullmatch(value):
        raise ConfigurationError(
            key, value, "use a path such as '/nightshift' without a slash at the end, or 'off'"
        )
    return value


def importable(key: str, value: Any) -> Callable[..., Any] | str:
    """A function, or the import path of one; it is imported at the first request, because it may need the app."""
    if callable(value):
        return value
    if isinstance(value, str) and _PATH.fullmatch(value):
        return value
    raise ConfigurationError(
        key, value, "give a function (request) -> Actor | None, or its path 'package.module:name'"
    )


def links(key: str, value: Any) -> dict[str, str]:
    """URLs by name."""
    if isinstance(value, str):
        value = mapping(key, value)
    if not isinstance(value, dict) or len(value) > MOST_LINKS:
        raise ConfigurationError(key, value, f"give a dict from names to URLs, at most {MOST_LINKS}")
    for name, url in value.items():
        where = f"{key}[{name!r}]"
        if not isinstance(name, str) or not isinstance(url, str):
            raise ConfigurationError(where, url, "give a text as the name and a URL as the value")
        if urlsplit(url).scheme not in ("http", "https"):
            raise ConfigurationError(where, url, "the URL has to begin with https:// or http://")
        _check_fields(where, url)
    return dict(value)


def _check_fields(where: str, url: str) -> None:
    allowed = "in braces, use " + ", ".join(f"{{{name}}}" for name in LINKED)
    try:
        fields = [
            (name, spec, conversion)
            for _, name, spec, conversion in Formatter().parse(url)
            if name is not None
        ]
    except ValueError as exc:
        raise ConfigurationError(where, url, f"{exc}; {allowed}") from None
    if any(name not in LINKED or spec or conversion for name, spec, conversion in fields):
        raise ConfigurationError(where, url, allowed)


__all__ = ["LINKED", "importable", "links", "prefix"]
