"""A job's arguments as text for logs and pages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

LEAST_CUT = 1000
"""Minimum characters of a repr that was truncated for its length; a shorter one ending in "..." is the caller's own."""


def brief(value: Any, limit: int = 1024) -> str:
    """``repr(value)``, truncated to ``limit`` characters."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def arguments(headers: Mapping[str, Any], body: bytes) -> tuple[str, str]:
    """Positional and keyword arguments as text: JSON from ``body``, or Celery's reprs if ``body`` is not JSON.

    If the caller set ``argsrepr`` or ``kwargsrepr`` (to hide a secret, for example), that text is returned instead.
    """
    try:
        args, kwargs, _ = json.loads(body)
        return _unless_hidden(args, headers.get("argsrepr")), _unless_hidden(
            kwargs, headers.get("kwargsrepr")
        )
    except (ValueError, TypeError, RecursionError):
        return str(headers.get("argsrepr") or ""), str(headers.get("kwargsrepr") or "")


def _unless_hidden(value: Any, given: object) -> str:
    """``value`` as JSON, or ``given`` if that is not the automatic repr of ``value``."""
    shown = json.dumps(value, ensure_ascii=False)
    if not given:
        return shown
    own = (repr(tuple(value)), repr(value)) if isinstance(value, list) else (repr(value),)
    begin = str(given).removesuffix("...")
    cut = begin != given and len(begin) >= LEAST_CUT
    made = given in own or (cut and any(text.startswith(begin) for text in own))
    return shown if made else str(given)
