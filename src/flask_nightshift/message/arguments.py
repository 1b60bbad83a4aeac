"""A job's arguments as text for logs, monitors and pages, without those that ``NIGHTSHIFT_REDACT`` hides.

The message's body keeps all of them, because a worker runs it and a replay publishes it again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..text.passwords import HIDDEN
from ..text.redaction import NOWHERE, Positions, Redaction
from .headers import HISTORY

LEAST_CUT = 1000
"""Minimum characters of a repr that was truncated for its length; a shorter one ending in "..." is the caller's own."""
BRIEF = 1024
"""Maximum characters of a brief text."""
_PROBE = 4
"""Number of a hidden value's first characters to look for in a text, which may be cut after them."""


def brief(value: Any, limit: int = BRIEF) -> str:
    """``repr(value)``, truncated to ``limit`` characters."""
    return cut(repr(value), limit)


class Texts:
    """How the arguments of one task's jobs are shown.

    ``positions`` are the hidden ones among the positional arguments; without them, only names hide values.
    """

    __slots__ = ("_hides_some", "_positions", "_redaction")

    def __init__(self, redaction: Redaction, positions: Positions = NOWHERE) -> None:
        self._redaction = redaction
        self._positions = positions
        self._hides_some = bool(positions)

    def args(self, args: Any) -> str:
        """Positional arguments as a brief ``repr()``, the header ``argsrepr``."""
        if not self._hides_some:
            text = repr(args)
            # names occur in dicts and named tuples alone; most arguments have none, and need no second look
            if "{" not in text and "=" not in text:
                return text if len(text) <= BRIEF else cut(text)
        return cut(repr(self._redaction.args(args, self._positions)))

    def kwargs(self, kwargs: Any) -> str:
        """Keyword arguments as a brief ``repr()``, the header ``kwargsrepr``."""
        if not kwargs:
            return repr(kwargs)
        if not self._redaction.hides_any(tuple(kwargs)):
            text = repr(kwargs)
            if text.find("{", 1) < 0 and "=" not in text:
                return text if len(text) <= BRIEF else cut(text)
        return cut(repr(self._redaction.value(kwargs)))

    def shown(self, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """The arguments without what is hidden; the same objects if nothing is."""
        return self._redaction.args(args, self._positions), self._redaction.value(kwargs)

    def of(self, headers: Mapping[str, Any], body: bytes) -> tuple[str, str]:
        """Those of a message: JSON from ``body``, or the texts in ``headers`` if ``body`` is not JSON.

        If the caller set ``argsrepr`` or ``kwargsrepr``, that text is returned instead.
        """
        given = headers.get("argsrepr"), headers.get("kwargsrepr")
        try:
            args, kwargs, _ = json.loads(body)
            shown = self.shown(args, kwargs)
            return _said(args, shown[0], given[0]), _said(kwargs, shown[1], given[1])
        except (ValueError, TypeError, RecursionError):
            return self._of_unread_body(headers)

    def recorded(self, headers: Mapping[str, Any], body: bytes) -> tuple[str, str]:
        """Those of a message as the history has them: the ``repr()`` in its ``headers``, as whoever enqueued it tells.

        If it is of another producer, hides values. For a header that is missing it makes the text from ``body``.
        """
        args, kwargs = shown_arguments(headers)
        if HISTORY in headers and args and kwargs:
            return args, kwargs
        try:
            own, named, _ = json.loads(body)
            said: dict[str, Any] = {"argsrepr": args, "kwargsrepr": kwargs}
            self.hide(said, own, named)
            return said["argsrepr"] or self.args(tuple(own)), said["kwargsrepr"] or self.kwargs(named)
        except (ValueError, TypeError, RecursionError):
            return self._of_unread_body(headers)

    def hide(self, headers: dict[str, Any], args: Any, kwargs: Any) -> None:
        """Hide values in the ``headers`` of a message that was not composed by our publisher, if it shows them."""
        values = ("argsrepr", args), ("kwargsrepr", kwargs)
        for (name, value), shown in zip(values, self.shown(args, kwargs), strict=True):
            if shown is not value and _shows(str(headers.get(name) or ""), value, shown):
                headers[name] = brief(tuple(shown) if name == "argsrepr" else shown)

    def _of_unread_body(self, headers: Mapping[str, Any]) -> tuple[str, str]:
        if HISTORY in headers:  # of our publisher, which has hidden what it had to
            return shown_arguments(headers)
        args, kwargs = headers.get("argsrepr"), headers.get("kwargsrepr")
        return self._unread(args, certain=bool(self._positions)), self._unread(kwargs, certain=False)

    def _unread(self, given: object, *, certain: bool) -> str:
        """A text of another producer: hidden as a whole if it shows a value that must be hidden, or may show one."""
        text = str(given or "")
        return HIDDEN if text and (certain or self._redaction.names_in(text)) else text


def shown_arguments(headers: Mapping[str, Any]) -> tuple[str, str]:
    """The texts ``argsrepr`` and ``kwargsrepr`` of a message; empty if it has none."""
    return str(headers.get("argsrepr") or ""), str(headers.get("kwargsrepr") or "")


def by_name(task: object) -> Texts:  # noqa: ARG001
    """How arguments are shown where neither settings nor tasks are known."""
    return Texts(Redaction())


def texts_of(redaction: Redaction, task: Any) -> Texts:
    """How the arguments of ``task`` (None: a task that this process does not know) are shown."""
    return Texts(redaction, redaction.positions(getattr(task, "run", None)))


def cut(text: str, limit: int = BRIEF) -> str:
    """``text``, truncated to ``limit`` characters."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _said(value: Any, shown: Any, given: object) -> str:
    """``shown`` as JSON, or ``given`` if that is the caller's own text and not an automatic repr of ``value``."""
    if given and not any(_is_made(str(given), each) for each in (value, shown)):
        text = str(given)
        if shown is value or not _shows(text, value, shown):
            return text
    return json.dumps(shown, ensure_ascii=False)


def _is_made(given: str, value: Any) -> bool:
    own = (repr(tuple(value)), repr(value)) if isinstance(value, list) else (repr(value),)
    begin = given.removesuffix("...")
    cut = begin != given and len(begin) >= LEAST_CUT
    return given in own or (cut and any(text.startswith(begin) for text in own))


def _shows(text: str, value: Any, shown: Any) -> bool:
    """Whether ``text`` shows one of the values that are hidden in ``shown``."""
    return any(_probe(hidden) in text for hidden in _hidden(value, shown) if hidden not in (None, "", HIDDEN))


def _probe(hidden: Any) -> str:
    if isinstance(hidden, str):
        return repr(hidden)[1:-1][:_PROBE]
    return "" if isinstance(hidden, (Mapping, list, tuple)) else repr(hidden)  # an empty text is in each


def _hidden(value: Any, shown: Any) -> Iterator[Any]:
    if shown is value:
        return
    if shown == HIDDEN:
        yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _hidden(each, shown[key])
    elif isinstance(value, (list, tuple)):
        for each, other in zip(value, shown, strict=True):
            yield from _hidden(each, other)


__all__ = ["Texts", "brief", "by_name", "cut", "shown_arguments", "texts_of"]
