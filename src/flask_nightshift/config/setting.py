"""The declaration of one setting, and the check of a value against it.

A declaration is ``Annotated[type, Meta(limits), Setting(words)]``; the limits are optional. msgspec checks the type and
the limits. Where these are not enough, the setting has a check function of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from msgspec import Meta, ValidationError, convert

from ..errors import ConfigurationError
from ..text.passwords import refused_url


@dataclass(frozen=True, slots=True)
class Setting:
    """The words for a setting, and an optional check function.

    ``meaning`` (Markdown, with links from docs/) and ``default`` appear in docs/reference/settings.md; ``default`` is
    set only where the default value needs words. ``unit`` is the unit of a number. ``allowed`` describes the accepted
    texts in an error. ``check`` replaces the check by type: it takes the key and the value, and returns the value to
    keep or raises ``ConfigurationError``.
    """

    meaning: str
    default: str = ""
    unit: str = ""
    allowed: str = "give text"
    check: Callable[[str, Any], Any] | None = None


def words_of(declared: Any) -> Setting:
    """The ``Setting`` of a declaration."""
    return next(each for each in declared.__metadata__ if isinstance(each, Setting))


def checked(key: str, value: Any, declared: Any) -> Any:
    """``value`` converted to its ``declared`` type; raises ``ConfigurationError`` with key, value and what is allowed.

    Environment variables are text, so a text may stand for a number, a dict (JSON), or a choice in any case. A
    timedelta stands for its seconds.
    """
    words = words_of(declared)
    if words.check is not None:
        return words.check(key, value)
    kind = declared.__origin__
    if get_origin(kind) in (Union, UnionType):  # the other type is None, and a value was given
        declared = get_args(kind)[0]
        kind = getattr(declared, "__origin__", declared)
    if get_origin(kind) is dict:
        return mapping(key, value)
    if get_origin(kind) is Literal:
        return _choice(key, value, get_args(kind))
    if kind in (int, float):
        return _number(key, value, declared, words.unit)
    return _converted(value, declared, ConfigurationError(key, value, words.allowed))


def mapping(key: str, value: Any) -> dict[str, Any]:
    """``value``, a dict or JSON text, as a dict with text keys; raises ``ConfigurationError``."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as exc:
            raise ConfigurationError(key, refused_url(value), f"give a JSON object ({exc})") from None
    allowed = "give a dict with text keys (a JSON object in the environment)"
    return _converted(value, dict[str, Any], ConfigurationError(key, value, allowed))


def _choice(key: str, value: Any, choices: tuple[str, ...]) -> Any:
    given = value.strip().lower() if isinstance(value, str) else value
    text = next((each for each in choices if each.lower() == given), value)
    allowed = "one of " + ", ".join(map(repr, choices))
    return _converted(text, Literal[choices], ConfigurationError(key, value, allowed))


def _number(key: str, value: Any, declared: Any, unit: str) -> Any:
    try:
        number = _plain(value)
    except ValueError:
        raise ConfigurationError(key, value, f"give {unit} as a number") from None
    limits = next(each for each in declared.__metadata__ if isinstance(each, Meta))
    between = ConfigurationError(key, value, f"give {unit} between {limits.ge:g} and {limits.le:g}")
    _converted(number, Annotated[float, limits], between)
    return _converted(number, declared, ConfigurationError(key, value, f"give {unit} as a whole number"))


def _plain(value: Any) -> Any:
    """``value`` as a number if it is a text or a timedelta; raises ``ValueError`` for a text that is not a number."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    return float(value) if isinstance(value, (str, float)) else value


def _converted(value: Any, kind: Any, refusal: ConfigurationError) -> Any:
    try:
        return convert(value, kind, strict=False)  # not strict: 2.0 is a whole number
    except ValidationError:
        raise refusal from None


__all__ = ["Setting", "checked", "mapping", "words_of"]
