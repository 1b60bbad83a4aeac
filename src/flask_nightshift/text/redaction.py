"""Hide the arguments of jobs that ``NIGHTSHIFT_REDACT`` names, before people see them.

A name is hidden if it contains one of the setting's names, whatever its case, and without regard to ``_`` and ``-``: so
``token`` also hides ``csrfToken``, and ``api_key`` also hides ``X-API-Key``. When in doubt, hide too much rather than
too little. Names count at any depth: those of parameters, keyword arguments, keys of dicts, and fields of named tuples.
"""

from __future__ import annotations

import inspect
import re
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from .passwords import HIDDEN

NAMES = ("password", "passwd", "secret", "token", "authorization", "api_key", "cookie")
"""The names that are hidden unless the app sets its own."""
DEEPEST = 100
"""What is nested deeper is hidden without a look."""

_ATOMS = (str, int, float, bool, bytes, type(None))
_SEPARATORS = re.compile(r"[\W_]+")
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_MOST_KNOWN = 10_000


class Positions(NamedTuple):
    """Which positional arguments of a function are hidden: those ``at`` these places, and all from ``rest`` on."""

    at: frozenset[int] = frozenset()
    rest: int | None = None

    def __bool__(self) -> bool:
        return bool(self.at) or self.rest is not None


NOWHERE = Positions()


class Redaction:
    """Hides values by their names."""

    def __init__(self, names: Iterable[str] = NAMES) -> None:
        self._parts = tuple(dict.fromkeys(map(plain, names)))
        self._known: dict[str, bool] = {}
        self._any: dict[tuple[Any, ...], bool] = {}
        self._positions: weakref.WeakKeyDictionary[Any, Positions] = weakref.WeakKeyDictionary()

    def __bool__(self) -> bool:
        return bool(self._parts)

    def hides(self, name: object) -> bool:
        """Whether a value of this name is hidden."""
        if not isinstance(name, str):
            return False
        found = self._known.get(name)
        if found is None:
            bare = plain(name)
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            found = self._known[name] = any(part in bare for part in self._parts)
        return found

    def names_in(self, text: str) -> bool:
        """Whether one of the names occurs anywhere in ``text``."""
        bare = plain(text)
        return any(part in bare for part in self._parts)

    def hides_any(self, names: tuple[Any, ...]) -> bool:
        """Whether a value of one of these names is hidden."""
        found = self._any.get(names)
        if found is None:
            if len(self._any) >= _MOST_KNOWN:
                self._any.clear()
            found = self._any[names] = any(map(self.hides, names))
        return found

    def positions(self, function: Callable[..., Any] | None) -> Positions:
        """Which positional arguments of ``function`` are hidden; none if Python cannot determine its parameters."""
        if function is None or not self._parts:
            return NOWHERE
        key = getattr(function, "__func__", function)  # a bound method is made anew each time
        try:
            found = self._positions.get(key)
        except TypeError:  # it has no weak references, or no hash
            return self._look(function)
        if found is None:
            found = self._positions[key] = self._look(function)
        return found

    def args(self, args: Any, positions: Positions = NOWHERE) -> Any:
        """Positional arguments without what is hidden; the same object if nothing is."""
        if not isinstance(args, (list, tuple)):
            return self.value(args)
        found = [
            HIDDEN if place in positions.at or _is_from(place, positions.rest) else self.value(value)
            for place, value in enumerate(args)
        ]
        return args if _same(found, args) else type(args)(found) if type(args) in (list, tuple) else found

    def value(self, value: Any, depth: int = 0) -> Any:
        """``value`` without what is hidden within it; the same object if nothing is."""
        if isinstance(value, _ATOMS) or not self._parts:
            return value
        if isinstance(value, Mapping):
            if depth > DEEPEST:
                return HIDDEN
            named = {
                key: HIDDEN if self.hides(key) else self.value(each, depth + 1) for key, each in value.items()
            }
            return value if _same(named.values(), value.values()) else named
        if isinstance(value, (list, tuple)):
            if depth > DEEPEST:
                return HIDDEN
            fields = getattr(type(value), "_fields", ())
            parts = [
                HIDDEN if at < len(fields) and self.hides(fields[at]) else self.value(each, depth + 1)
                for at, each in enumerate(value)
            ]
            return value if _same(parts, value) else _like(value, parts)
        return value

    def _look(self, function: Callable[..., Any]) -> Positions:
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):
            return NOWHERE
        at, rest = set(), None
        for place, parameter in enumerate(parameters):
            if parameter.kind in _POSITIONAL and self.hides(parameter.name):
                at.add(place)
            elif parameter.kind is parameter.VAR_POSITIONAL and self.hides(parameter.name):
                rest = place
        return Positions(frozenset(at), rest)


def plain(name: str) -> str:
    """``name`` in lower case, with letters and digits alone."""
    return _SEPARATORS.sub("", name).lower()


def _is_from(place: int, rest: int | None) -> bool:
    return rest is not None and place >= rest


def _same(found: Iterable[Any], given: Iterable[Any]) -> bool:
    return all(one is other for one, other in zip(found, given, strict=True))


def _like(value: list[Any] | tuple[Any, ...], parts: list[Any]) -> Any:
    """``parts`` as a list or tuple of the kind of ``value``, for its ``repr()``."""
    if isinstance(value, list):
        return parts
    named = hasattr(type(value), "_fields")
    return tuple.__new__(type(value), parts) if named else tuple(parts)


__all__ = ["NAMES", "NOWHERE", "Positions", "Redaction", "plain"]
