"""One call that enqueues a job: its options are checked once, before the publisher chooses a wire."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Any, NamedTuple

from celery import Celery
from celery.utils.time import maybe_iso8601, maybe_make_aware

from ..message.unique import REPLACE
from ..options.call import checked_call, with_limits
from ..options.kinds import MOST_TAGS
from ..options.of_tasks import DURABLE, ON_EXPIRED_OPTION, TAGS_OPTION, UNIQUE
from ..options.publish import InvalidOption, check_serializer, checked_priority, checked_queue
from ..options.task import in_order
from ..text.redaction import Redaction
from .unique import Uniqueness, uniqueness

_OURS = frozenset({*UNIQUE, DURABLE, TAGS_OPTION, ON_EXPIRED_OPTION})
"""Options that Celery does not know."""


class Call(NamedTuple):  # each enqueued job creates one, and no other value is cheaper to create
    """The name of a task, its arguments, and the options of the call under Celery's names.

    ``options`` are checked and contain no None. ``asked`` are the options as the caller gave them, with None. ``task``
    is the task object, or None if this process does not know it. ``due`` replaces the options ``countdown`` and
    ``eta``: the time from which the job may start, None for at once. ``unique`` replaces the options of unique jobs,
    ``durable`` and ``on_expired`` the options of these names; the latter is empty for a job that does not expire.
    ``tags`` are those of the task and of the call together.
    """

    name: str
    args: Any
    kwargs: Any
    options: dict[str, Any]
    asked: Mapping[str, Any]
    task: Any
    due: datetime | None
    unique: Uniqueness | None = None
    durable: bool = False
    tags: tuple[str, ...] = ()
    on_expired: str = ""

    def cleared(self) -> dict[str, None]:
        """The options that the caller gave as None; to Celery that differs from an omitted option."""
        return dict.fromkeys(
            name for name, value in self.asked.items() if value is None and name not in _OURS
        )


class Calls:
    """Checks the calls of one Celery app. ``redaction`` hides arguments in its errors."""

    def __init__(self, app: Celery, redaction: Redaction) -> None:
        self._app = app
        self._redaction = redaction
        self._serializers: set[str] = set()

    def checked(self, name: str, args: Any, kwargs: Any, options: Mapping[str, Any]) -> Call:
        """Check the ``options`` of ``Celery.send_task``; raises ``InvalidOption`` for a wrong one."""
        given = {key: value for key, value in options.items() if value is not None}
        task = given.get("task_type") or self._named(name)
        given = with_limits(checked_call(given), task)
        if "queue" in given:
            checked_queue(given["queue"])
        if "priority" in given:
            given["priority"] = checked_priority(given["priority"])
        if "serializer" in given:
            self._check_serializer(given["serializer"])
        due = None
        if "countdown" in given or "eta" in given:
            due = self._due(given.pop("countdown", None), given.pop("eta", None))
        unique = uniqueness(name, task, given, self._redaction)
        durable = bool(given.pop(DURABLE, getattr(task, DURABLE, False)))
        if durable and unique is not None and unique.on_duplicate == REPLACE:
            why = "a job that replaces others cannot be durable; use on_duplicate='skip' or 'raise'"
            raise InvalidOption(DURABLE, True, why)
        tags = _tags(task, given.pop(TAGS_OPTION, ()))
        on_expired = given.pop(ON_EXPIRED_OPTION, None) or getattr(task, ON_EXPIRED_OPTION, None) or ""
        if "expires" not in given:
            on_expired = ""
        return Call(name, args, kwargs, given, options, task, due, unique, durable, tags, on_expired)

    def _named(self, name: str) -> Any:
        """The task of that name; None if this process does not know it."""
        task = self._app._tasks.get(name)  # noqa: SLF001 - at each access, ``tasks`` takes a lock
        return self._app.tasks.get(name) if task is None and not self._app.finalized else task

    def _check_serializer(self, serializer: str) -> None:
        if serializer not in self._serializers:
            check_serializer(serializer, self._app.conf.accept_content)
            self._serializers.add(serializer)

    def _due(self, countdown: float | None, eta: datetime | str | None) -> datetime | None:
        if countdown:
            now: datetime = self._app.now()
            return now + timedelta(seconds=countdown)
        return moment(eta, self._app.timezone)


def _tags(task: Any, given: Iterable[str]) -> tuple[str, ...]:
    """The tags of a job: those of its task, then those of the call."""
    of_task = getattr(task, TAGS_OPTION, None)
    if not given and not of_task:
        return ()
    found = in_order((*in_order(of_task), *in_order(given)))
    if len(found) > MOST_TAGS:
        raise InvalidOption(TAGS_OPTION, found, f"with those of the task a job has at most {MOST_TAGS}")
    return found


def moment(eta: datetime | str | None, timezone: tzinfo) -> datetime | None:
    """An ``eta`` as an aware datetime; None if there is none."""
    found: datetime | None = maybe_make_aware(maybe_iso8601(eta), timezone) if eta else None
    return found


__all__ = ["Call", "Calls", "moment"]
