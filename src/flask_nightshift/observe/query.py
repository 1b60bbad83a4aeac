r"""The search box: ``state:retrying task:mail.* error:timeout tag:eu since:2h "it broke" customer``.

    query   token …                    a job meets all of them
    token   field:value, or a text     a text is looked for in the id, the arguments, the error and the request id
    value   mail.*  "in quotes"        ``*`` is any text in task, queue, worker and error; a quoted one is itself
            a\ b  \*  \"               a backslash makes the next character itself

Pure: ``parse`` and ``text_of`` are each other's inverse, and the time now is an argument.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ..domain.job import JobState
from ..errors import InvalidQuery
from ..options.task import meant
from ..text import patterns
from ..text.moments import moment
from .filters import Filters

FIELDS = {
    "state": "in this state: queued, running, retrying, …",
    "task": "of this task; mail.* is every task whose name begins so",
    "queue": "enqueued in this queue",
    "worker": "run by this worker, last",
    "error": "dead, or waiting for a retry, because of this type of error; timeout is also TimeoutError",
    "tag": "with this tag",
    "since": "enqueued since: 2h, 30m, 7d, or an ISO time (UTC)",
    "until": "enqueued before",
}
"""The fields, with what a job has that a value finds."""
STATES = tuple(str(state) for state in JobState if state is not JobState.UNKNOWN)
LONGEST = 1_000
"""Maximum number of characters of a query."""
MOST_STARS = 4
"""Maximum number of wildcards in a value; each multiplies the work for a long name."""

_PATTERNS = ("task", "queue", "worker", "error")
_OTHER_WORDS = {
    "active": "running", "completed": "succeeded", "done": "succeeded", "failed": "dead", "failure": "dead",
    "pending": "queued", "retry": "retrying", "started": "running", "success": "succeeded", "waiting": "queued",
}  # fmt: skip
"""States of other job queues."""
_OTHER_FIELDS = {"after": "since", "before": "until", "exception": "error", "name": "task", "status": "state"}


@dataclass(slots=True)
class _Token:
    """A token: its field, its text, and its text as a pattern, in which a quoted star stands for itself."""

    field: str | None = None
    text: str = ""
    pattern: str = ""
    plain: bool = True  # nothing in it was quoted yet

    def add(self, char: str, *, itself: bool) -> None:
        self.text += char
        self.pattern += patterns.exactly(char) if itself or char == "\\" else char
        self.plain = self.plain and not itself

    def is_name(self) -> bool:
        return (
            self.plain
            and self.field is None
            and self.text.isascii()
            and self.text.replace("_", "a").isalpha()
        )

    def becomes_field(self) -> None:
        self.field, self.text, self.pattern = self.text, "", ""


def parse(text: str, now: datetime) -> Filters:
    """The jobs that ``text`` means at ``now``; an empty one means all. Raises ``InvalidQuery``."""
    if len(text) > LONGEST:
        raise InvalidQuery(f"the query has {len(text)} characters; at most {LONGEST} are allowed")
    found: dict[str, Any] = {}
    texts: list[str] = []
    for token in _tokens(text):
        if token.field is None:
            if not token.text.strip():
                raise InvalidQuery(f"{_quoted(token.text)} is no text to look for")
            texts.append(token.text)
            continue
        name = _field(token)
        if name in found:
            raise InvalidQuery(f"{name} is given twice; a job can meet one of the two only")
        found[name] = _value(name, token, now)
    return checked(Filters(**found, search=tuple(texts) or None))


def checked(filters: Filters) -> Filters:
    """``filters``; raises ``InvalidQuery`` if no job can meet them, or if they cost too much."""
    since, until = filters.since, filters.until
    if since and until and since >= until:
        raise InvalidQuery(f"no job was enqueued since {since:%F %T} and before {until:%F %T} (UTC)")
    for name in _PATTERNS:
        value = getattr(filters, name)
        if value is not None and patterns.parts(value).count(None) > MOST_STARS:
            raise InvalidQuery(f"{name}:{value} has more than {MOST_STARS} wildcards")
    return filters


def joined(one: Filters, other: Filters) -> Filters:
    """The conditions of both; raises ``InvalidQuery`` if both have one of the same name."""
    values = {name: value for name in FIELDS if (value := getattr(other, name)) is not None}
    for name in values:
        if getattr(one, name) is not None:
            raise InvalidQuery(f"{name} is given twice; a job can meet one of the two only")
    return checked(replace(one, **values, search=one.texts + other.texts or None))


def text_of(filters: Filters) -> str:
    """A query that means ``filters``, with times as they are."""
    said = []
    for name in FIELDS:
        value = getattr(filters, name)
        if value is None:
            continue
        if isinstance(value, datetime):
            said.append(f"{name}:{value.isoformat()}")
        elif name in _PATTERNS and not patterns.is_literal(value):
            said.append(f"{name}:{_bare(value)}")
        else:
            text = patterns.literal(value) if name in _PATTERNS else str(value)
            said.append(f"{name}:{_quoted(text) if not _is_plain(text) or '*' in text else text}")
    said += (text if _is_plain(text) and ":" not in text else _quoted(text) for text in filters.texts)
    return " ".join(said)


def _tokens(text: str) -> Iterator[_Token]:
    token: _Token | None = None
    quoted = False
    chars = iter(text)
    for char in chars:
        if char.isspace() and not quoted:
            if token is not None:
                yield token
            token = None
            continue
        token = token or _Token()
        if char == "\\":
            token.add(next(chars, "\\"), itself=True)
        elif char == '"':
            quoted, token.plain = not quoted, False
        elif char == ":" and not quoted and token.is_name():
            token.becomes_field()
        else:
            token.add(char, itself=quoted)
    if quoted:
        raise InvalidQuery('a quotation mark (") is not closed; a text may have one as \\"')
    if token is not None:
        yield token


def _field(token: _Token) -> str:
    given = str(token.field)
    name = given.lower()
    if name in FIELDS:
        return name
    near = _OTHER_FIELDS.get(name) or meant(name, FIELDS)
    ways = [f"did you mean {near}:? "] if near else []
    whole = f"{given}:{token.text}"
    raise InvalidQuery(
        f"there is no field {given!r}; {''.join(ways)}The fields are {', '.join(FIELDS)}. "
        f"For a tag write tag:{_shown(whole)}, and for a text {_quoted(whole)}"
    )


def _value(name: str, token: _Token, now: datetime) -> Any:
    if not token.text.strip():
        raise InvalidQuery(f"{name}: needs a value: {FIELDS[name]}")
    if name in _PATTERNS:
        return token.pattern
    if name in ("since", "until"):
        try:
            return moment(token.text, now)
        except ValueError as exc:
            raise InvalidQuery(f"{name}: {exc}") from None
    if name == "state":
        return state(token.text)
    if not patterns.is_literal(token.pattern):
        ways = f"a tag has no wildcards; for the star itself write {_quoted(token.text)}"
        raise InvalidQuery(f"{name}:{token.text}: {ways}")
    return token.text


def state(text: str) -> str:
    """The name of a state; raises ``InvalidQuery`` with the one that was probably meant."""
    given = text.lower()
    if given in STATES:
        return given
    near = _OTHER_WORDS.get(given) or meant(given, STATES)
    hint = f"did you mean {near!r}? " if near else ""
    raise InvalidQuery(f"{text!r} is not a state; {hint}The states are {', '.join(STATES)}")


def _is_plain(text: str) -> bool:
    return text != "" and not any(char.isspace() or char in '"\\' for char in text)


def _shown(text: str) -> str:
    return text if _is_plain(text) else _quoted(text)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _bare(pattern: str) -> str:
    """``pattern`` as a value outside of quotation marks: there its own escapes mean the same."""
    return "".join(f"\\{char}" if char.isspace() or char == '"' else char for char in pattern)


__all__ = ["FIELDS", "LONGEST", "MOST_STARS", "STATES", "checked", "joined", "parse", "state", "text_of"]
