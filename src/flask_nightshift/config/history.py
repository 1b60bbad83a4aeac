"""Checks the settings about the history: which arguments it hides, and how long it keeps jobs of each state."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta

from ..domain.job import FINISHED
from ..errors import ConfigurationError
from ..text.redaction import plain
from .setting import Setting, checked

DAYS = 7.0
"""Days for which a finished job is kept, unless the app says otherwise."""
_DAYS: Any = Annotated[float, Meta(ge=0.01, le=36_500), Setting("", unit="days")]
_STATES = ", ".join(FINISHED)


def days_by_state(key: str, value: Any) -> dict[str, float]:
    """``value``, days for all finished jobs or a dict of days by state, as days for each state.

    Raises ``ConfigurationError``, which names ``key``.
    """
    value = _from_json(value, "{")
    if not isinstance(value, Mapping):
        return dict.fromkeys(FINISHED, checked(key, value, _DAYS))
    for state in value:
        if state not in list(FINISHED):
            raise ConfigurationError(
                key, dict(value), f"a job ends as one of {_STATES}; {state!r} is none of them"
            )
    given = {str(state): checked(f"{key}[{str(state)!r}]", days, _DAYS) for state, days in value.items()}
    return dict.fromkeys(FINISHED, DAYS) | given


def redacted_names(key: str, value: Any) -> tuple[str, ...]:
    """The names in ``value``, a list or a comma-separated text; raises ``ConfigurationError``, which names ``key``."""
    names = _from_json(value, "[")
    if isinstance(names, str):
        names = [part.strip() for part in names.split(",")]
    if not isinstance(names, (list, tuple, set, frozenset)):
        raise ConfigurationError(
            key, value, "give a list of names of arguments, or names with commas between"
        )
    for name in names:
        if not isinstance(name, str) or not plain(name):
            raise ConfigurationError(
                key, value, f"{name!r} is no name of an argument; give letters or digits"
            )
    return tuple(names)


def _from_json(value: Any, begin: str) -> Any:
    """``value`` from the environment, if it is JSON that begins so."""
    if not isinstance(value, str) or not value.strip().startswith(begin):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


__all__ = ["DAYS", "days_by_state", "redacted_names"]
