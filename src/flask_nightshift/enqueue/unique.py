"""Unique jobs: what makes a call unique, and the key of its lock.

The key is ``<task>:<text>``. The text comes from ``unique_key``, or it is a digest of the arguments by parameter name,
so ``f(1)`` and ``f(user_id=1)`` are the same. The lock is claimed when the job is published, never in the caller's
transaction: other requests would wait for that one to end.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from ..errors import DuplicateJob
from ..message.arguments import Texts, texts_of
from ..message.codec import encode
from ..message.unique import DONE, LONGEST_KEY, RAISE, SKIP, STARTED, Lock
from ..options.of_tasks import UNIQUE
from ..options.publish import InvalidOption
from ..text.redaction import Redaction

KEPT_FOR = 86_400.0
"""Seconds for which a lock is kept at the most, from when the job is due, if ``unique_for`` says nothing else."""
FOLLOWED = ("chain", "chord", "group_id", "link", "link_error")
"""Options of a call that something waits for, or that something follows."""
_PLAIN = re.compile(r"[A-Za-z0-9_.:@/+=,-]{1,150}")
_UNTIL = {"until_started": STARTED, "until_done": DONE}


class UniqueKeyError(ValueError):
    """The key of a unique job could not be made from its arguments; the message names the task and the arguments."""


class Uniqueness(NamedTuple):
    """How the jobs of some calls are unique. ``key`` makes the key of their arguments; None: they are the key.

    ``must_run``: something waits for the job, or follows it, so a duplicate is an error. ``texts`` shows arguments in
    errors.
    """

    task: str
    until: str
    key: Callable[..., Any] | None
    seconds: float
    on_duplicate: str
    signature: inspect.Signature | None
    must_run: bool
    texts: Texts

    def lock(self, job_id: str, args: Any, kwargs: Any) -> Lock:
        """The lock of one job; raises ``UniqueKeyError``."""
        key = _key(self, args or (), kwargs or {})
        return Lock(key, job_id, self.task, self.until, self.seconds, self.on_duplicate)

    def refusal(self, lock: Lock, holder: str, enqueued: tuple[str, ...] = ()) -> DuplicateJob | None:
        """The error for a duplicate, if it is one."""
        if self.on_duplicate == RAISE or self.must_run:
            return DuplicateJob(self.task, lock.key, holder, enqueued)
        return None


def uniqueness(name: str, task: Any, options: dict[str, Any], redaction: Redaction) -> Uniqueness | None:
    """How the job of a call is unique; None if it is not. Removes the options for that from ``options``.

    Raises ``InvalidOption`` for options that contradict each other.
    """
    given = {option: options.pop(option) for option in UNIQUE if option in options}
    unique = given.get("unique", getattr(task, "unique", None))
    if not unique:
        for option in UNIQUE[1:]:
            if option in given:
                raise InvalidOption(option, given[option], "the job has no lock; add unique='until_done'")
        return None
    if unique == "until_done" and getattr(task, "acks_late", True) is False:
        why = "with acks_late=False a crash would leave the lock; use 'until_started'"
        raise InvalidOption("unique", unique, why)
    key = getattr(task, "unique_key", None)
    if "unique_key" in given:
        said = given["unique_key"]
        key = lambda *args, **kwargs: said  # noqa: E731, ARG005
    return Uniqueness(
        name,
        _UNTIL[unique],
        key,
        float(given.get("unique_for") or getattr(task, "unique_for", None) or KEPT_FOR),
        given.get("on_duplicate") or _said(task) or SKIP,
        _signature(task) if key is None else None,
        any(options.get(option) for option in FOLLOWED),
        texts_of(redaction, task),
    )


def _said(task: Any) -> str | None:
    """``on_duplicate`` of ``task``; a base class from elsewhere may have a method of that name."""
    said = getattr(task, "on_duplicate", None)
    return said if isinstance(said, str) else None


def _key(unique: Uniqueness, args: Any, kwargs: Any) -> str:
    try:
        if unique.key is None:
            text = "#" + _digest(_canonical(_by_name(unique.signature, args, kwargs)))
        else:
            text = _readable(unique.key(*args, **kwargs))
    except Exception as exc:
        shown = f"{unique.texts.args(args)} and {unique.texts.kwargs(kwargs)}"
        raise UniqueKeyError(
            f"no unique key for {unique.task} with the arguments {shown}: {type(exc).__name__}: {exc}"
        ) from exc
    key = f"{unique.task}:{text}"
    if len(key) <= LONGEST_KEY and (unique.task.isascii() and unique.task.isprintable()):
        return key
    return "#" + _digest(key)


def _readable(value: Any) -> str:
    if value is None:
        raise ValueError("unique_key returned None; return text, a number, or a list of them")
    text = value if isinstance(value, str) else _canonical(value)
    return text if _PLAIN.fullmatch(text) else "#" + _digest(text)


def _signature(task: Any) -> inspect.Signature | None:
    """The signature of the task's function; None if it has none, or this process does not know the task."""
    try:
        return inspect.signature(task.run)
    except (AttributeError, TypeError, ValueError):
        return None


def _by_name(signature: inspect.Signature | None, args: Any, kwargs: Any) -> Any:
    """The arguments by the names of their parameters; as they are if the function does not take them."""
    if signature is not None:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            pass
        else:
            bound.apply_defaults()
            return dict(bound.arguments)
    return {"args": list(args), "kwargs": dict(kwargs)}


def _canonical(value: Any) -> str:
    """``value`` as JSON that does not depend on the order of dicts."""
    return json.dumps(json.loads(encode(value)), sort_keys=True, separators=(",", ":"))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


__all__ = ["KEPT_FOR", "UniqueKeyError", "Uniqueness", "uniqueness"]
