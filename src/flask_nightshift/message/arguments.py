"""A job's arguments as text for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

LEAST_CUT = 1000
"""Characters of a text for people that was cut because it was too long, and not given that way."""


def brief(value: Any, limit: int = 1024) -> str:
    """``value`` as Python writes it, with at most ``limit`` characters."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def arguments(headers: Mapping[str, Any], body: bytes) -> tuple[str, str]:
    """The arguments as text for people: as JSON from the body, or as Celery's reprs where it is not JSON.

    Whoever gave ``argsrepr`` or ``kwargsrepr`` to hide something sees those, and never the body.
    """
    try:
        args, kwargs, _ = json.loads(body)
        return _unless_hidden(args, headers.get("argsrepr")), _unless_hidden(
            kwargs, headers.get("kwargsrepr")
        )
    except (ValueError, TypeError, RecursionError):
        return str(headers.get("argsrepr") or ""), str(headers.get("kwargsrepr") or "")


def _unless_hidden(value: Any, given: object) -> str:
    """``value`` as JSON, unless ``given`` is another text than the one that is made of it by itself."""
    shown = json.dumps(value, ensure_ascii=False)
    if not given:
        return shown
    own = (repr(tuple(value)), repr(value)) if isinstance(value, list) else (repr(value),)
    begin = str(given).removesuffix("...")
    cut = begin != given and len(begin) >= LEAST_CUT
    made = given in own or (cut and any(text.startswith(begin) for text in own))
    return shown if made else str(given)
